"""Every option of a command stands on the page that says how the command is used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from growdisk.cli.parser import COMMANDS
from growdisk.playbook.keywords import PLAY_WORDS, TASK_WORDS
from tests.docs.options import actions_of
from tests.docs.pages import code_of

_DISK = ("expand", "running-guests")
_RUN = (*_DISK, "block-devices")
PAGES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("expand", "plan", "show", "script"), _DISK),
    **dict.fromkeys(("status", "resume", "rollback", "commit"), _RUN),
    **dict.fromkeys(("list", "watch"), ("fleet",)),
    **dict.fromkeys(("run", "collection install"), ("playbooks",)),
    "provision": ("provisioning",),
    **{name: ("image",) for name in COMMANDS if name.startswith("image ")},
    **dict.fromkeys(("doctor", "completion"), ("configuration",)),
}
COMMON = ("configuration", "json", "image")  # of the options that stand on every command


def missing(flags: list[tuple[str, ...]], pages: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The options of which no page has any form."""
    code = "\n".join(code for page in pages for code in code_of(page))
    words = set(re.split(r"[\s=\[\](),;:|'\\]+", code))
    return [forms for forms in flags if words.isdisjoint(forms)]


def flags_of(verb: str) -> list[tuple[str, ...]]:
    """All forms of each of its options."""
    return [tuple(action.option_strings) for action in actions_of(verb) if action.option_strings]


ON_EVERY_COMMAND = flags_of("completion")  # which has none of its own
_LONG = {forms[-1] for forms in ON_EVERY_COMMAND}


def test_every_verb_has_its_pages() -> None:
    assert {name for name, (module, _) in COMMANDS.items() if module} == PAGES.keys()


@pytest.mark.parametrize("verb", PAGES)
def test_every_option_of_a_verb_stands_on_one_of_its_pages(verb: str) -> None:
    own = [forms for forms in flags_of(verb) if forms[-1] not in _LONG]
    assert missing(own, PAGES[verb]) == []


def test_the_options_of_every_command_stand_on_a_page() -> None:
    assert missing(ON_EVERY_COMMAND, COMMON) == []


def test_every_word_of_a_playbook_stands_on_its_page() -> None:
    words = set(re.findall(r"\w+", "\n".join(code_of("playbooks"))))
    assert [word for word in (*PLAY_WORDS, *TASK_WORDS) if word not in words] == []


# Options of other programs that messages name.
_FOREIGN = {
    "all", "alloc", "allocatable", "append", "header", "image-opts", "login", "long", "noheadings",
    "object", "options", "part-type", "permission", "persistent", "pids-limit", "query",
    "read-only", "regenerate-all", "remove", "rereadpt", "resizeable", "resizefs",
    "restoremissing", "resume-only", "salvage", "set-capacity", "setrw", "shared", "socket",
    "system-site-packages", "systemid",
}  # fmt: skip


def test_every_option_that_a_message_names_is_there() -> None:
    verbs = [name for name, (module, _) in COMMANDS.items() if module]
    known = {form[2:] for verb in verbs for forms in flags_of(verb) for form in forms}
    named = {
        (option, file.name)
        for file in (Path(__file__).parents[2] / "growdisk").rglob("*.py")
        for text in re.findall(
            r'"([^"\n]* [^"\n]*)"', re.sub(r'""".*?"""', "", file.read_text(), flags=re.DOTALL)
        )
        for option in re.findall(r"(?<![\w-])--([a-z][a-z-]+)", text)
    }
    assert [name for name in sorted(named) if name[0] not in known | _FOREIGN] == []
