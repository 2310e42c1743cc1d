"""growdisk resume: continue an unfinished run."""

from __future__ import annotations

import argparse

from growdisk import api
from growdisk.cli.arguments import add_image
from growdisk.cli.declaring import declare
from growdisk.cli.disk_options import add_keys, keys_of
from growdisk.cli.images.keys import unlocking
from growdisk.cli.output import CommandOutput
from growdisk.cli.targets import image_of

NAME = "resume"
HELP = "go on with an unfinished run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)
    declare(parser, "overlays_may_break")
    declare(parser, "not_in_use")
    add_keys(parser)


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.cli.report import tell
    from growdisk.workflow.stopping import SignalsStop, StopRequest

    image = image_of(arguments)
    with SignalsStop(StopRequest()) as stop, output.steps() as steps:
        may_break, not_in_use = arguments.overlays_may_break, arguments.not_in_use
        result = unlocking(
            arguments,
            lambda keys: api.resume(
                image, steps, stop, keys, overlays_may_break=may_break, not_in_use=not_in_use
            ),
            keys_of(arguments),
        )
    return tell(result, output, image=image)
