"""What the command line takes and what a playbook task takes are one table."""

from __future__ import annotations

import argparse
from functools import cache
from typing import get_args

import pytest

from growdisk.api.live_request import Way
from growdisk.api.provisioning.recipe import Compression
from growdisk.cli.declaring import help_of
from growdisk.planner import goal
from growdisk.planner.option_table import CONVERTING, SECTOR_SIZES, SHARED, OptionSpec
from growdisk.playbook.specs import TASKS
from tests.docs.options import actions_of

_STEPS = (
    "resize_image", "rewrite_partitions", "reread_partitions", "grow_filesystem", "remake_swap",
    "make_swap_file", "repair_guest",
)  # fmt: skip
VERBS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("expand", "expand_online"), ("expand", "plan")),
    **dict.fromkeys(_STEPS, ("expand",)),
    "resize_image": ("image resize",),
    "snapshot": ("image snapshot",),
    "convert": ("image convert",),
    "image": ("image create", "image resize", "image check", "image compact"),
    **dict.fromkeys(("show", "facts", "assert"), ("show",)),
    **{name: (name,) for name in ("rollback", "commit", "provision", "script", "watch")},
}
"""The verbs that do what a task does. Options of one name are the same option."""
EXCEPT = {
    ("make_swap_file", "expand", "size"): "the size of the swap file",
    ("repair_guest", "expand", "swap"): "what became of the swap before",
    ("repair_guest", "expand", "others"): "file systems; the command line's are disks: --with",
    ("image", "image create", "size"): "the task makes an image, or makes it larger",
    ("image", "image resize", "size"): "the task makes an image, or makes it larger",
    ("image", "image create", "format"): "the name of a new image tells its format",
}
_MORE_CHOICES: dict[str, tuple[object, ...]] = {
    "online": ("manual",),  # a task cannot wait for a person
    "sector_size": SECTOR_SIZES,  # Ansible would refuse other numbers in words of its own
}
_NEGATED = {"guest_repair"}  # --no-guest-repair says the opposite


@cache
def actions(verb: str) -> dict[str, argparse.Action]:
    """The options of a verb by the names that playbooks write."""
    return {action.dest: action for action in actions_of(verb)}


def test_every_task_is_compared_with_a_verb() -> None:
    assert VERBS.keys() == TASKS.keys()


@pytest.mark.parametrize(("task", "verb"), [(task, verb) for task in VERBS for verb in VERBS[task]])
def test_an_option_of_one_name_is_one_option(task: str, verb: str) -> None:
    for option in TASKS[task].options:
        action = actions(verb).get(option.name)
        if action is None or (task, verb, option.name) in EXCEPT:
            continue
        if option.name not in _NEGATED:
            assert (action.help or "").startswith(help_of(option)), option.name
        assert _choices(action, option) == option.choices, option.name
        assert (action.default or None) == (option.default or None), option.name


def _choices(action: argparse.Action, option: OptionSpec) -> tuple[object, ...]:
    more = _MORE_CHOICES.get(option.name, ())
    return tuple(choice for choice in action.choices or () if choice not in more)


def test_the_exceptions_are_options_of_both() -> None:
    for task, verb, name in EXCEPT:
        assert TASKS[task].option(name) and name in actions(verb) and verb in VERBS[task]


@pytest.mark.parametrize("verb", ["plan", "expand"])
def test_the_command_line_takes_every_option_of_the_table(verb: str) -> None:
    for name in SHARED:
        flags = actions(verb)[name].option_strings
        word = f"no_{name}" if name in _NEGATED else name
        assert f"--{word.replace('_', '-')}" in flags or name == "size", name


def test_the_task_takes_no_option_that_the_command_line_has_not() -> None:
    for task in ("expand", "expand_online"):
        assert {option.name for option in TASKS[task].options} - {"image"} == SHARED.keys()
        assert all(
            SHARED[option.name] is option
            for option in TASKS[task].options
            if option.name != "image"
        )


def test_the_types_of_the_code_have_the_choices_of_the_table() -> None:
    for name, literal in (
        ("backend", goal.Backend),
        ("snapshots", goal.SnapshotChoice),
        ("swap", goal.SwapPolicy),
        ("preallocation", goal.Preallocation),
    ):
        assert get_args(literal) == SHARED[name].choices, name
    assert get_args(Way) == (*SHARED["online"].choices, "manual")
    assert get_args(Compression) == CONVERTING["compression"].choices
