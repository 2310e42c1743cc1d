"""growdisk expand: the whole job."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from growdisk import api
from growdisk.cli import plan
from growdisk.cli.arguments import add_goal, format_of, goal_of, options_of
from growdisk.cli.images.keys import unlocking
from growdisk.cli.output import CommandOutput
from growdisk.cli.targets import target_of
from growdisk.fast_dataclass import replace
from growdisk.units import format_size

if TYPE_CHECKING:
    from growdisk.api.result import Result
    from growdisk.planner.goal import Goal, SwapPolicy

NAME = "expand"
HELP = "grow image, partition and file system, with a snapshot before each step"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_goal(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="the same as growdisk plan")
    parser.add_argument(
        "-y", "--yes", action="store_true", help="ask nothing on a terminal: the defaults"
    )
    plan.add_as_playbook(parser)


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    if arguments.dry_run or arguments.as_playbook:
        return plan.run(arguments, output)
    from growdisk.cli.report import tell
    from growdisk.workflow.stopping import SignalsStop, StopRequest

    target, goal, options = target_of(arguments), goal_of(arguments), options_of(arguments)
    goal = with_swap_decided(
        arguments, output, goal, lambda: plan.plan_target(arguments, target, goal, options)
    )
    with SignalsStop(StopRequest()) as stop, output.steps() as steps:
        result = unlocking(
            arguments,
            lambda keys: api.expand(
                target, goal, replace(options, keys=keys), format_of(arguments), steps, stop
            ),
            options.keys,
        )
    # With a SIZE, "nothing to do" needs no advice to give it more.
    more = shlex.join(["growdisk", *arguments.words]) if goal.size is None else ""
    return tell(result, output, image=Path(result.before.image.path), command=more)


# On a terminal: what shall become of swap that a run would give up? Asked once, before anything is
# changed.

# The first is what Enter means, and what growdisk does by itself if it can.
_CHOICES = (
    ("drop", "its space goes to the file system; the guest has no swap then"),
    ("move", "it is made again at the end of the disk, under the same names"),
    ("file", "the guest gets a swap file of the same size instead"),
)


def with_swap_decided(
    arguments: argparse.Namespace,
    output: CommandOutput,
    goal: Goal,
    make_plan: Callable[[], Result],
) -> Goal:
    """The goal with the answer in it; `make_plan` tells what would be given up.

    Nothing is asked if --swap or --yes was given, or nobody is there to answer.
    """
    if goal.swap is not None or arguments.yes or output.json_mode or output.quiet:
        return goal
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return goal
    given_up = list(_swap_given_up(make_plan()))
    if not given_up:
        return goal
    output.note(f"in the way of growth: {', '.join(given_up)}")
    answer = output.ask("what shall become of it?", _CHOICES)
    return replace(goal, swap=cast("SwapPolicy", answer))


def _swap_given_up(planned: Result) -> Iterator[str]:
    """Not what --delete gives up apart from it, which is not asked about."""
    for before, after in ((planned.before, planned.after), *planned.others):
        staying = {part.number for part in after.partitions}
        for part in before.partitions:
            is_swap = part.content is not None and part.content.kind == "swap"
            if is_swap and part.number not in staying:
                yield f"{part.name}: swap partition of {format_size(part.size)}"
