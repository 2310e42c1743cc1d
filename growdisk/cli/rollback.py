"""growdisk rollback: undo an unfinished or kept run, wholly or down to one step."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from growdisk import api
from growdisk.cli.arguments import add_image
from growdisk.cli.declaring import declare
from growdisk.cli.disk_options import add_keys, add_sector_size, keys_of
from growdisk.cli.images.keys import unlocking
from growdisk.cli.output import CommandOutput
from growdisk.cli.targets import image_of
from growdisk.errors import options_conflict
from growdisk.planner.option_table import DOWN_TO

if TYPE_CHECKING:
    from growdisk.api.result import Result

NAME = "rollback"
HELP = "undo an unfinished or kept run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)
    declare(parser, DOWN_TO, metavar="STEP")
    parser.add_argument(
        "--force",
        action="store_true",
        help="a run whose folder is lost: go back to before it by the snapshots that the image "
        "carries",
    )
    declare(parser, "overlays_may_break")
    declare(parser, "not_in_use")
    add_sector_size(parser, more="for --force; otherwise as the run was begun")
    add_keys(parser)


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.cli.report import tell
    from growdisk.workflow.stopping import SignalsStop, StopRequest

    # Without its folder a run's steps are not known: only the snapshot from before it is.
    if arguments.force and arguments.to:
        raise options_conflict(
            "--force goes all the way back", ("--force", "--to"), hint="leave --to out"
        )
    image = image_of(arguments)
    may_break = arguments.overlays_may_break
    not_in_use = arguments.not_in_use

    def go_back(keys: tuple[bytes, ...]) -> Result:
        if arguments.force:
            return api.rollback_carried(
                image,
                keys,
                overlays_may_break=may_break,
                not_in_use=not_in_use,
                sector_size=arguments.sector_size,
            )
        to = arguments.to
        return api.rollback(
            image, to, steps, stop, keys, overlays_may_break=may_break, not_in_use=not_in_use
        )

    # Going back is short and is not stopped half-way: a signal waits until it is done.
    with SignalsStop(StopRequest()) as stop, output.steps() as steps:
        result = unlocking(arguments, go_back, keys_of(arguments))
    return tell(result, output, image=image)
