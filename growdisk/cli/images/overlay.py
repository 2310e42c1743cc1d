"""growdisk image overlay: a new image over another, which must not be written to any more."""

from __future__ import annotations

import argparse
from pathlib import Path

from growdisk.cli.declaring import declare
from growdisk.cli.images.shared import add_path, human_size
from growdisk.cli.output import CommandOutput
from growdisk.planner.option_table import CREATING


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser, "base", metavar="BASE")
    parser.add_argument("path", type=Path, metavar="NEW", help="the overlay, a new file")
    declare(parser, CREATING["backing_format"], "-F")


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.api.images.creating import create_overlay

    size = create_overlay(arguments.base, arguments.path, arguments.backing_format)
    output.document({"result": "created", "filename": str(arguments.path), "virtual-size": size})
    output.note(f"{arguments.path}: {human_size(size)} on {arguments.base}")
    return 0
