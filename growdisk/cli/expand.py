"""growdisk expand: the whole job."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from growdisk.cli import plan
from growdisk.cli.arguments import add_goal, format_of, goal_of, options_of
from growdisk.cli.images.keys import unlocking
from growdisk.cli.output import Output
from growdisk.cli.swap_question import with_swap_decided
from growdisk.cli.targets import target_of
from growdisk.fast_dataclass import replace

NAME = "expand"
HELP = "grow image, partition and file system, each step behind a snapshot"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_goal(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="the same as growdisk plan")
    parser.add_argument("-y", "--yes", action="store_true", help="ask nothing on a terminal: the defaults")
    plan.add_as_playbook(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    if arguments.dry_run or arguments.as_playbook:
        return plan.run(arguments, output)
    from growdisk import api
    from growdisk.cli.report import tell
    from growdisk.workflow.stopping import SignalsStop, StopRequest

    target, goal, options = target_of(arguments), goal_of(arguments), options_of(arguments)
    goal = with_swap_decided(arguments, output, goal, lambda: plan.planned(arguments, target, goal, options))
    with SignalsStop(StopRequest()) as stop, output.steps() as steps:
        result = unlocking(
            arguments,
            lambda keys: api.expand(target, goal, replace(options, keys=keys), format_of(arguments), steps, stop),
            options.keys,
        )
    more = shlex.join(["growdisk", *arguments.words]) if goal.size is None else ""
    return tell(result, output, image=Path(result.before.image.path), command=more)
