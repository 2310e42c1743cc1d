"""On a terminal: what shall become of swap that a run would give up? Asked once, before anything is changed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from growdisk.cli.output import Output
from growdisk.fast_dataclass import replace

if TYPE_CHECKING:
    from growdisk.api.result import Result
    from growdisk.planner.goal import Goal, SwapPolicy

_CHOICES = (
    ("drop", "its space goes to the file system; the guest has no swap then"),
    ("move", "it is made again at the end of the disk, under the same names"),
    ("file", "the guest gets a swap file of the same size instead"),
)


def with_swap_decided(
    arguments: argparse.Namespace, output: Output, goal: Goal, plan: Callable[[], Result]
) -> Goal:  # fmt: skip
    """The goal with the answer in it. Nothing is asked if --swap or --yes was given, or nobody is there to answer."""
    if goal.swap is not None or arguments.yes or output.json_mode or output.quiet:
        return goal
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return goal
    given_up = [item for item in plan().given_up if ": swap partition of " in item]
    if not given_up:
        return goal
    output.note(f"in the way of growth: {', '.join(given_up)}")
    answer = output.ask("what shall become of it?", _CHOICES)
    return replace(goal, swap=cast("SwapPolicy", answer))
