"""growdisk plan: what expand would do, drawn and listed; touches nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

from growdisk.cli.arguments import add_goal, format_of, goal_of, options_of
from growdisk.cli.output import Output
from growdisk.cli.targets import target_of

NAME = "plan"
HELP = "show what expand would do, and touch nothing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_goal(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    from growdisk import api
    from growdisk.cli.report import tell

    result = api.plan(target_of(arguments), goal_of(arguments), options_of(arguments), format_of(arguments))
    return tell(result, output, image=Path(result.before.image.path))
