"""The keywords that a playbook may use: where each may stand, what its value may be.

What is not here is an error before anything runs.
"""

from __future__ import annotations

import keyword
from collections.abc import Collection, Mapping
from types import MappingProxyType

from growdisk.errors import UsageError
from growdisk.host.yaml_reader import Located, YamlPosition, bad_file
from growdisk.playbook.expressions import is_template, sandbox
from growdisk.playbook.options import truth_of
from growdisk.playbook.specs import NAMESPACE, TASKS
from growdisk.suggestions import nearest, suggestion

PLAY_WORDS = (
    "name", "hosts", "vars", "vars_files", "tasks", "tags", "gather_facts", "connection", "become",
    "ignore_errors", "check_mode", "diff",
)  # fmt: skip
TASK_WORDS = (
    "name", "when", "loop", "loop_control", "register", "failed_when", "changed_when",
    "ignore_errors", "tags", "vars", "check_mode", "diff", "no_log", "args", "become",
    "delegate_to", "run_once",
)  # fmt: skip
LOOP_WORDS = ("loop_var", "index_var", "label")
ON_FAILURE = "growdisk_on_failure"
ON_FAILURE_CHOICES = ("task", "play", "none")

# What Ansible has, and growdisk run does not: not to be taken for a slip of the pen.
ANSIBLE_PLAY = frozenset(
    {
        "any_errors_fatal", "become_exe", "become_flags", "become_method", "become_user",
        "collections", "debugger", "environment", "fact_path", "force_handlers", "gather_subset",
        "gather_timeout", "handlers", "ignore_unreachable", "max_fail_percentage",
        "module_defaults", "no_log", "order", "port", "post_tasks", "pre_tasks", "remote_user",
        "roles", "run_once", "serial", "strategy", "throttle", "timeout", "vars_prompt",
        "import_playbook",
    }
)  # fmt: skip
_ANSIBLE_TASK = frozenset(
    {
        "block", "rescue", "always", "action", "any_errors_fatal", "async", "poll", "become_exe",
        "become_flags", "become_method", "become_user", "collections", "connection", "debugger",
        "delay", "delegate_facts", "environment", "ignore_unreachable", "local_action",
        "module_defaults", "notify", "listen", "port", "remote_user", "retries", "throttle",
        "timeout", "until", "import_tasks", "include_tasks", "include_vars",
        # Modules that playbooks often have: some of these names are near to names of growdisk's.
        "apt", "command", "copy", "dnf", "fetch", "file", "get_url", "group", "import_role",
        "include_role", "lineinfile", "meta", "package", "pause", "raw", "service", "set_stats",
        "setup", "shell", "stat", "systemd", "template", "uri", "user", "wait_for", "yum",
    }
)  # fmt: skip
BUILTIN = "ansible.builtin"
BUILTIN_OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "debug": ("msg", "var", "verbosity"),
        "assert": ("that", "fail_msg", "msg", "success_msg", "quiet"),
        "fail": ("msg",),
        "set_fact": (),  # any name
    }
)


def task_names() -> list[str]:
    return [
        *(f"{NAMESPACE}.{name}" for name in TASKS),
        *(f"{BUILTIN}.{name}" for name in BUILTIN_OPTIONS),
    ]


def full_name(word: str) -> str:
    """The qualified name of a task, or "" if there is none of that name.

    `debug` is Ansible's own.
    """
    if word in task_names():
        return word
    builtin = f"{BUILTIN}.{word}"
    return builtin if builtin in task_names() else ""


def unknown_task_word(word: str, place: YamlPosition) -> UsageError:
    collection, _, name = word.rpartition(".")
    other = collection not in ("", BUILTIN) and not collection.startswith("growdisk")
    if other or name in _ANSIBLE_TASK or word.startswith("with_"):
        return unknown_word(word, place, "task", (), frozenset({word}))
    # Without their collections: growdisk.disk.expnd, or expand, is meant for growdisk.disk.expand.
    short = nearest(name, [known.rsplit(".", 1)[-1] for known in task_names()])
    if not nearest(word, TASK_WORDS) and short:
        full = next(known for known in task_names() if known.endswith(f".{short}"))
        return bad_file(f"there is no task or keyword '{word}'", place=place, hint=f"write {full}")
    return unknown_word(word, place, "task", [*TASK_WORDS, *task_names()])


def unknown_word(
    word: str,
    place: YamlPosition,
    where: str,
    known: Collection[str],
    ansible: frozenset[str] = frozenset(),
) -> UsageError:
    """`where` has the words `known`; those in `ansible` are told as what only Ansible has."""
    if word in ansible:
        hint = "leave it out, or run this playbook with ansible-playbook"
        problem = f"growdisk run does not know '{word}'"
        return bad_file(problem, place, "only Ansible has it", hint)
    hint = suggestion(word, known, f"a {where} has: {', '.join(known)}")
    return bad_file(f"a {where} has no '{word}'", place=place, hint=hint)


class Keywords:
    """The keywords of one mapping, each checked when it is asked for; any may be missing."""

    def __init__(self, node: Located) -> None:
        self._found = {key: value for key, value, _ in node.entries()}

    def node(self, word: str) -> Located | None:
        return self._found.get(word)

    def text(self, word: str) -> str:
        """ "" if it is missing."""
        node = self._filled(word)
        return text_of(node, word) if node else ""

    def variable_name(self, word: str) -> str:
        """ "" if it is missing."""
        node = self.node(word)
        if node is None:
            return ""
        text = str(node.value)
        if not is_name(text):
            raise node.bad(f"{word} is the name of a variable", reason=f"'{text}' cannot be one")
        return text

    def flag(self, word: str) -> bool:
        node = self.node(word)
        if node is None:
            return False
        if (found := truth_of(node.value)) is None:
            raise node.bad(f"{word} is true or false")
        return found

    def flag_or_template(self, word: str, *, default: object = None) -> object:
        """A bool, or a text that is evaluated to one later."""
        node = self.node(word)
        if node is None:
            return default
        if isinstance(node.value, str) and is_template(node.value):
            check_templates(node.value, node.place)
            return node.value
        return self.flag(word)

    def conditions(self, word: str) -> tuple[str, ...] | None:
        """Expressions that must all be true; None if it is missing."""
        node = self.node(word)
        return None if node is None else conditions_of(node, word)

    def vars(self) -> dict[str, object]:
        node = self._filled("vars")
        if node is None:
            return {}
        if not node.is_mapping:
            raise node.bad("vars is a mapping", hint="write NAME: VALUE below it")
        for key, _, place in node.entries():
            refuse_no_name(key, place)
        check_all(node)
        return node.plain_entries()

    def tags(self) -> frozenset[str]:
        node, words = self._filled("tags"), list[str]()
        # A list, or one text with commas, as Ansible takes both.
        for item in node.one_or_more() if node else ():
            if not isinstance(item.value, str | int):
                raise item.bad("tags are words")
            words += [word.strip() for word in str(item.value).split(",")]
        return frozenset(word for word in words if word)

    def items(self, word: str) -> tuple[Located, ...]:
        node = self._filled(word)
        if node is None:
            return ()
        if not node.is_list:
            raise node.bad(
                f"{word} is a list", hint=f"begin each of its items with a dash, below {word}:"
            )
        return node.items()

    def refuse_become(self) -> None:
        node = self.node("become")
        if node is not None and truth_of(node.value) is not False:
            raise node.bad("growdisk run does not become another user", hint="run it with sudo")

    def _filled(self, word: str) -> Located | None:
        """None also if there is nothing after its colon."""
        node = self.node(word)
        return None if node is None or node.value is None else node


def text_of(node: Located, word: str) -> str:
    # `name: 5` is a text to people; YAML has made a number of it.
    if not isinstance(node.value, str | int | float):
        raise node.bad(f"{word} is a text")
    check_templates(str(node.value), node.place)
    return str(node.value)


def conditions_of(node: Located, word: str) -> tuple[str, ...]:
    return tuple(_condition(item, word) for item in node.one_or_more())


def _condition(node: Located, word: str) -> str:
    if isinstance(node.value, bool):
        # YAML has read `when: true` as a bool; jinja2 writes it in small letters.
        return str(node.value).lower()
    text = str(node.value) if isinstance(node.value, str | int) else ""
    if not text.strip():
        raise node.bad(f"{word} is an expression", hint=f"such as {word}: size is defined")
    if is_template(text):
        raise node.bad(
            f"{word} is an expression already",
            reason="braces make a text of it",
            hint="leave {{ and }} out",
        )
    check_expression(text, node.place)
    return text


def check_all(node: Located) -> None:
    """Every expression in it can be read."""
    if isinstance(node.value, str):
        check_templates(node.value, node.place)
    for item in node.items():
        check_all(item)
    for _, value, _ in node.entries():
        check_all(value)


def check_templates(text: str, place: YamlPosition) -> None:
    if is_template(text):
        check_expression(text, place, expression=False)


def check_expression(text: str, place: YamlPosition, *, expression: bool = True) -> None:
    try:
        # It compiles the text, and so finds unknown filters too.
        sandbox().names_in(text, expression=expression)
    except Exception as error:  # jinja2's own, and what its parser trips over
        reason = " ".join(str(error).split())
        raise bad_file(f"cannot read the expression {text}", place=place, reason=reason) from error


# jinja2's constants, in both spellings; and omit, which is a value of every task.
_NOT_A_NAME = frozenset({"true", "false", "none", "True", "False", "None", "omit"})


def is_name(text: str) -> bool:
    return (
        text.isidentifier()
        and text.isascii()
        and not keyword.iskeyword(text)
        and text not in _NOT_A_NAME
    )


def refuse_no_name(text: str, place: YamlPosition) -> None:
    if not is_name(text):
        problem, hint = f"'{text}' cannot be the name of a variable", "use letters, digits and _"
        raise bad_file(problem, place=place, hint=hint)
