"""Help, man pages and completion: made from the parser, with examples that growdisk understands."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from growdisk.cli.examples import EXAMPLES
from growdisk.cli.parser import Parser, own_words, parsed, whole_parser
from tests.unit.cli.command import GROWDISK, in_process

ROOT = Path(__file__).parents[3]


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Every command with a parser of growdisk's own, by its name."""
    found = {parser.prog: parser}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and parser.prog != "growdisk collection":
            for sub in action.choices.values():
                found |= commands(sub)
    return found


def test_every_command_has_examples() -> None:
    assert commands(whole_parser()).keys() == EXAMPLES.keys()


@pytest.mark.parametrize("line", [line for examples in EXAMPLES.values() for line, _ in examples])
def test_an_example_is_a_command_that_growdisk_understands(line: str) -> None:
    words = shlex.split(line.partition(" > ")[0])
    assert words[0] == "growdisk"
    assert parsed(own_words(words[1:])).run


@pytest.mark.parametrize("prog", EXAMPLES)
def test_help_ends_with_the_examples(prog: str) -> None:
    answer = in_process(*prog.split()[1:], "--help")
    assert answer.code == 0
    assert all(line in answer.out for line, _ in EXAMPLES[prog])
    assert answer.out.index("examples:") > answer.out.index("usage:")


def test_the_options_of_expand_are_in_groups() -> None:
    titles = [
        group.title
        for group in commands(whole_parser())["growdisk expand"]._action_groups
        if group._group_actions
    ]
    wanted = [
        "what grows",
        "what gives way",
        "the way back",
        "inside a running guest",
        "passphrases",
        "output",
    ]
    assert set(wanted) <= set(titles)
    assert titles[-1] == "output"


def test_every_option_says_what_it_does() -> None:
    silent = [
        f"{prog} {action.option_strings or action.dest}"
        for prog, parser in commands(whole_parser()).items()
        for action in parser._actions
        if not action.help and not isinstance(action, argparse._SubParsersAction)
    ]
    assert silent == []


# --- man pages ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    subprocess.run([sys.executable, ROOT / "setup/man.py", folder], check=True)
    return folder


def test_every_command_has_a_man_page(pages: Path) -> None:
    top = {prog.replace(" ", "-") for prog in EXAMPLES if prog.count(" ") < 2}
    assert {page.stem for page in pages.glob("*.1")} == top


@pytest.mark.parametrize("name", ["growdisk", "growdisk-expand", "growdisk-image"])
def test_man_shows_a_page_without_a_warning(pages: Path, name: str) -> None:
    shown = subprocess.run(
        ["man", "--warnings", "-l", pages / f"{name}.1"], capture_output=True, text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "100"},
    )  # fmt: skip
    assert shown.stderr == ""
    for section in (
        "NAME",
        "SYNOPSIS",
        "EXAMPLES",
        "EXIT STATUS",
        "FILES",
        "ENVIRONMENT",
        "SEE ALSO",
    ):
        assert f"\n{section}\n" in shown.stdout, section


# --- completion -----------------------------------------------------------------------------------


def completed(line: str) -> list[str]:
    """What bash offers after `line`."""
    words = line.split(" ")
    script = f"""
        source <({GROWDISK} completion bash)
        COMP_WORDS=({" ".join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}
        COMP_LINE={shlex.quote(line)}; COMP_POINT=${{#COMP_LINE}}
        _shtab_growdisk growdisk {shlex.quote(words[-1])} {shlex.quote(words[-2])}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("growdisk ex", "expand"),
        ("growdisk expand --sw", "--swap"),
        ("growdisk expand --swap m", "move"),
        ("growdisk image conv", "convert"),
    ],
)
def test_bash_completes(line: str, offered: str) -> None:
    assert offered in completed(line)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_too(shell: str) -> None:
    answer = in_process("completion", shell)
    assert answer.code == 0
    assert "provision" in answer.out


def test_the_parser_of_a_verb_is_growdisks_own() -> None:
    assert all(isinstance(parser, Parser) for parser in commands(whole_parser()).values())
