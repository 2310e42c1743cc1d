"""growdisk commit: accept the image as it is, and forget the run's snapshots."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from growdisk import api
from growdisk.cli.arguments import add_image
from growdisk.cli.disk_options import add_keys, add_sector_size, declare, keys_of
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
        help="keep the disk as it is, although its run is unfinished, or taken back in part; or "
        "although the run's folder is lost (then the image's snapshots of it are removed)",
    )
    declare(parser, "not_in_use")
    add_sector_size(parser, more="for --force; otherwise as the run was begun")
    add_keys(parser)


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.cli.report import tell_commit
    from growdisk.workflow.stopping import SignalsStop, StopRequest

    image, not_in_use = image_of(arguments), arguments.not_in_use

    def accept(keys: tuple[bytes, ...]) -> Result:
        force = arguments.force
        if force and not api.status(image).is_recorded:
            return api.commit_carried(
                image, keys, not_in_use=not_in_use, sector_size=arguments.sector_size
            )
        return api.commit(image, steps, keys, not_in_use=not_in_use, as_it_is=force)

    # Short, and not stopped half-way: a signal waits until it is done.
    with SignalsStop(StopRequest()), output.steps() as steps:
        result = unlocking(arguments, accept, keys_of(arguments))
    return tell_commit(result, output, image=image)
