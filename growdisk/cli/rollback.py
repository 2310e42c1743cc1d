"""growdisk rollback: undo an unfinished or kept run, wholly or down to one step."""

from __future__ import annotations

import argparse

from growdisk.cli.arguments import add_image
from growdisk.cli.output import Output
from growdisk.cli.targets import image_of

NAME = "rollback"
HELP = "undo an unfinished or kept run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)
    parser.add_argument("--to", metavar="STEP", help="only down to and including this step")


def run(arguments: argparse.Namespace, output: Output) -> int:
    from growdisk import api
    from growdisk.cli.report import tell
    from growdisk.workflow.stopping import SignalsStop, StopRequest

    image = image_of(arguments)
    # Going back is short and is not stopped half-way: a signal waits until it is done.
    with SignalsStop(StopRequest()) as stop, output.steps() as steps:
        result = api.rollback(image, arguments.to, steps, stop)
    return tell(result, output, image=image)
