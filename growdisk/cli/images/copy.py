"""growdisk image copy: a raw image (or any image file) copied with its holes."""

from __future__ import annotations

import argparse
from pathlib import Path

from growdisk.cli.images.shared import add_path, ended_like_ctrl_c, human_size, note_run
from growdisk.cli.output import CommandOutput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser, "source", metavar="SRC")
    parser.add_argument("path", type=Path, metavar="DST", help="a new file, or a block device")
    parser.add_argument(
        "--sparse",
        choices=("auto", "always", "never"),
        default="auto",
        help="holes stay holes (default), zeros become holes too, or holes become zeros",
    )


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.api.images.data_copy import copy_image

    # The file alone is copied: what lies below it does not matter.
    note_run(arguments.source, output, alone=True)
    with ended_like_ctrl_c(), output.bar(f"copying {arguments.source.name}") as progress:
        size = copy_image(arguments.source, arguments.path, arguments.sparse, progress)
    host = arguments.path.stat().st_blocks * 512
    output.document(
        {"result": "created", "filename": str(arguments.path), "size": size, "actual-size": host}
    )
    output.note(f"{arguments.path}: {human_size(size)}, {human_size(host)} on the host")
    return 0
