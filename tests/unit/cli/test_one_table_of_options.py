"""What the command line takes and what a playbook task takes are one table."""

from __future__ import annotations

import argparse

import pytest

from growdisk.cli.disk_options import help_of
from growdisk.cli.parser import parser_for
from growdisk.planner.option_table import SHARED, OptionSpec
from growdisk.playbook.specs import TASKS

_NEGATED = {"guest_repair"}  # --no-guest-repair
_ONLY_HERE = {"online": ("manual",)}


def actions(verb: str) -> dict[str, argparse.Action]:
    """The options of a verb by the names that playbooks write."""
    whole = parser_for([verb])
    verbs = next(
        action for action in whole._actions if isinstance(action, argparse._SubParsersAction)
    )
    return {action.dest: action for action in verbs.choices[verb]._actions}


@pytest.mark.parametrize("verb", ["plan", "expand"])
def test_the_command_line_takes_every_option_of_the_table_as_it_is_declared(verb: str) -> None:
    taken = actions(verb)
    for name, option in SHARED.items():
        if name in _NEGATED:
            assert f"no_{name}" in taken
            continue
        action = taken[name]
        assert f"--{name.replace('_', '-')}" in action.option_strings or action.dest == "size", name
        assert (action.help or "").startswith(help_of(option)), name
        assert _choices(action, name) == (option.choices or _choices(action, name)), name
        assert (action.default or None) == _default(option), name


def _choices(action: argparse.Action, name: str) -> tuple[str, ...]:
    return tuple(
        str(choice) for choice in action.choices or () if choice not in _ONLY_HERE.get(name, ())
    )


def _default(option: OptionSpec) -> object:
    return option.default or None


def test_the_task_takes_no_option_that_the_command_line_has_not() -> None:
    for task in ("expand", "expand_online"):
        assert {option.name for option in TASKS[task].options} - {"image"} == SHARED.keys()
        assert all(
            SHARED[option.name] is option
            for option in TASKS[task].options
            if option.name != "image"
        )
