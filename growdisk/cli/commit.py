"""growdisk commit: accept the image as it is, and forget the run's snapshots."""

from __future__ import annotations

import argparse

from growdisk.cli.arguments import add_image
from growdisk.cli.output import Output
from growdisk.cli.targets import image_of

NAME = "commit"
HELP = "forget the snapshots of a kept run: its result is final"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    from growdisk import api
    from growdisk.cli.report import tell_commit
    from growdisk.workflow.stopping import SignalsStop, StopRequest

    image = image_of(arguments)
    # Short, and not stopped half-way: a signal waits until it is done.
    with SignalsStop(StopRequest()), output.steps() as steps:
        result = api.commit(image, steps)
    return tell_commit(result, output, image=image)
