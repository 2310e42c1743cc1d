"""growdisk plan: what expand would do, drawn and listed; touches nothing."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk import api
from growdisk.cli.arguments import add_goal, format_of, goal_of, options_of
from growdisk.cli.common_options import names_at
from growdisk.cli.images.keys import unlocking
from growdisk.cli.output import CommandOutput
from growdisk.cli.targets import target_of
from growdisk.fast_dataclass import replace

if TYPE_CHECKING:
    from growdisk.api.live_target import LiveRequest
    from growdisk.api.result import Result
    from growdisk.planner.goal import Goal, RunOptions

NAME = "plan"
HELP = "show what expand would do, and touch nothing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_goal(parser)
    add_as_playbook(parser)


def add_as_playbook(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--as-playbook",
        action="store_true",
        help="print the plan as a playbook that does the same (growdisk run)",
    )


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    if arguments.as_playbook:
        from growdisk.cli.plan_as_playbook import show

        return show(arguments, output)
    from growdisk.cli.report import tell

    result = plan_target(arguments, target_of(arguments), goal_of(arguments), options_of(arguments))
    return tell(
        result, output, image=Path(result.before.image.path), command=_command(arguments, result)
    )


def plan_target(
    arguments: argparse.Namespace, target: Path | LiveRequest, goal: Goal, options: RunOptions
) -> Result:
    return unlocking(
        arguments,
        lambda keys: api.plan(target, goal, replace(options, keys=keys), format_of(arguments)),
        options.keys,
    )


def _command(arguments: argparse.Namespace, result: Result) -> str:
    """What carries the plan out: the same words with expand.

    Nothing if a SIZE was given and there is nothing to do.
    """
    # Without a SIZE the line is completed by report.py: give it more, +10G.
    if result.result == "nochange" and arguments.size is not None:
        return ""
    # The words as they were typed: this may also be `expand -n`. A machine or a file may be called
    # plan as well, and after -- a word is never an option.
    typed = arguments.words
    verb, end = names_at(typed, arguments.parser)[0], [*typed, "--"].index("--")
    words = [
        "expand" if place == verb else word
        for place, word in enumerate(typed)
        if place > end or word not in ("-n", "--dry-run")
    ]
    return shlex.join(["growdisk", *words])
