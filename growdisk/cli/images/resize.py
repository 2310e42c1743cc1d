"""growdisk image resize: the virtual size alone, without what is inside."""

from __future__ import annotations

import argparse

from growdisk.cli.images.keys import add_key, unlocking
from growdisk.cli.images.shared import add_format, add_path, human_size, size_of
from growdisk.cli.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser)
    parser.add_argument("size", metavar="SIZE", help="+10G grows by, 40G grows (or, with --shrink, shrinks) to")
    add_format(parser)
    parser.add_argument("--shrink", action="store_true", help="consent to lose what lies behind the new end")
    parser.add_argument(
        "--preallocation", choices=("off", "metadata", "falloc", "full"), default="off",
        help="take the new space on the host at once",
    )  # fmt: skip
    add_key(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    from growdisk.api.images.resizing import resize_image

    size = size_of(arguments.size)
    old, new = unlocking(
        arguments,
        lambda keys: resize_image(
            arguments.path, size, arguments.format, shrink=arguments.shrink,
            preallocation=arguments.preallocation, key=keys,
        ),
    )  # fmt: skip
    output.document({"result": "nochange" if old == new else "changed", "before": old, "after": new})
    output.note(f"{arguments.path}: {human_size(old)} -> {human_size(new)}")
    return 0
