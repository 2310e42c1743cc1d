"""growdisk image resize: the virtual size alone, without what is inside."""

from __future__ import annotations

import argparse
import re

from growdisk.cli.common_options import add_overlays_may_break
from growdisk.cli.images.keys import add_key, unlocking
from growdisk.cli.images.shared import add_format, add_path, human_size, note_rounded
from growdisk.cli.output import CommandOutput
from growdisk.errors import BadSize, shell_word
from growdisk.units import SizeSpec, parse_goal_size

_SIZE = re.compile(r"-[0-9.]+[A-Za-z]*$")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser)
    parser.add_argument(
        "size", metavar="SIZE", help="+10G grows by, 40G grows to; with --shrink: -10G by, 4G to"
    )
    # argparse takes a word like -10 for a value, by this pattern of its own; -10G has to count too.
    parser._negative_number_matcher = _SIZE
    add_format(parser)
    parser.add_argument(
        "--upgrade",
        action="store_true",
        help="make a version 2 image version 3 before (compat=1.1): its snapshots need it",
    )
    parser.add_argument(
        "--shrink", action="store_true", help="consent to lose what lies behind the new end"
    )
    parser.add_argument(
        "--preallocation",
        choices=("off", "metadata", "falloc", "full"),
        default="off",
        help="take the new space on the host at once",
    )
    add_overlays_may_break(parser)
    add_key(parser)


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.api.images.resizing import resize_image

    size = _change_of(arguments.size)
    old, new = unlocking(
        arguments,
        lambda keys: resize_image(
            arguments.path,
            size,
            arguments.format,
            shrink=arguments.shrink,
            preallocation=arguments.preallocation,
            key=keys,
            upgrade=arguments.upgrade,
            overlays_may_break=arguments.overlays_may_break,
        ),
    )
    output.document(
        {"result": "nochange" if old == new else "changed", "before": old, "after": new}
    )
    # +10G of a disk of odd length may be rounded too: the sum counts, not what was typed.
    note_rounded(output, size.resolve(old), new)
    if old == new:
        output.note(f"{arguments.path}: nothing to do, it has {human_size(old)} already")
    else:
        output.note(f"{arguments.path}: {human_size(old)} -> {human_size(new)}")
    if new > old:
        output.note(
            f"the partitions inside are as before; growdisk expand {shell_word(arguments.path)} "
            "grows them"
        )
    return 0


def _change_of(text: str) -> SizeSpec:
    """A SIZE, which here may also be one to shrink by."""
    if not text.startswith("-"):
        return parse_goal_size(text)
    try:
        # A SizeSpec of less than 0 is only made here: parse_size refuses a minus.
        return SizeSpec(-parse_goal_size(f"+{text.removeprefix('-')}").bytes, relative=True)
    except BadSize as error:
        error.problem = text  # as it was given
        raise
