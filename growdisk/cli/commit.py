"""growdisk commit: accept the image as it is, and forget the run's snapshots."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from growdisk import api
from growdisk.cli.arguments import add_image
from growdisk.cli.declaring import declare
from growdisk.cli.disk_options import add_keys, keys_of
from growdisk.cli.images.keys import unlocking
from growdisk.cli.output import CommandOutput
from growdisk.cli.targets import image_of

if TYPE_CHECKING:
    from growdisk.api.result import Result

NAME = "commit"
HELP = "forget the snapshots of a kept run: its result is final"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)
    parser.add_argument(
        "--force",
        action="store_true",
        help="a run whose folder is lost: keep the image, and remove the snapshots that it carries",
    )
    declare(parser, "not_in_use")
    add_keys(parser)


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.cli.report import tell_commit
    from growdisk.workflow.stopping import SignalsStop, StopRequest

    image, not_in_use = image_of(arguments), arguments.not_in_use

    def accept(keys: tuple[bytes, ...]) -> Result:
        if arguments.force:
            return api.commit_carried(image, keys, not_in_use=not_in_use)
        return api.commit(image, steps, keys, not_in_use=not_in_use)

    # Short, and not stopped half-way: a signal waits until it is done.
    with SignalsStop(StopRequest()), output.steps() as steps:
        result = unlocking(arguments, accept, keys_of(arguments))
    return tell_commit(result, output, image=image)
