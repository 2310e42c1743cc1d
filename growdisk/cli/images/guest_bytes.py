"""Guest bytes out of an image, or into it: growdisk image read, growdisk image write."""

from __future__ import annotations

import argparse
from pathlib import Path

from growdisk.api.images.guest_bytes import read_bytes, write_bytes
from growdisk.cli.common_options import add_value
from growdisk.cli.declaring import declare
from growdisk.cli.images.shared import (
    add_format,
    add_path,
    ended_like_ctrl_c,
    note_run,
    position_of,
)
from growdisk.cli.keys import add_key, keys_of
from growdisk.cli.output import CommandOutput


def read_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser)
    parser.add_argument("offset", metavar="OFFSET", help="where the bytes begin: 0, 4096b, 64k")
    parser.add_argument("length", metavar="LENGTH", help="how many: 512b, 1M")
    add_value(parser, "file", "FILE", "where they go; an earlier content is replaced", type=Path)
    add_format(parser)
    add_key(parser)


@ended_like_ctrl_c()
def run_read(arguments: argparse.Namespace, output: CommandOutput) -> int:
    offset, length = position_of(arguments.offset), position_of(arguments.length)
    path, file, keys = arguments.path, arguments.file, keys_of(arguments)
    note_run(path, output)
    read_bytes(path, offset, length, file, arguments.format, keys)
    output.document({"offset": offset, "length": length})
    return 0


def write_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser)
    parser.add_argument("offset", metavar="OFFSET", help="where the bytes go: 0, 4096b, 64k")
    parser.add_argument("file", type=Path, metavar="FILE", help="what is written, as long as it is")
    add_format(parser)
    declare(parser, "overlays_may_break")
    add_key(parser)


@ended_like_ctrl_c()
def run_write(arguments: argparse.Namespace, output: CommandOutput) -> int:
    offset = position_of(arguments.offset)
    length = write_bytes(
        arguments.path,
        offset,
        arguments.file,
        arguments.format,
        keys_of(arguments),
        overlays_may_break=arguments.overlays_may_break,
    )
    output.document({"offset": offset, "length": length})
    return 0
