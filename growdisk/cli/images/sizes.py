"""How large an image is, to its guest or on the host: growdisk image resize, compact."""

from __future__ import annotations

import argparse
import re

from growdisk.api.guard import header_at
from growdisk.api.images.resizing import resize_image
from growdisk.cli.common_options import add_flag
from growdisk.cli.declaring import declare, help_of
from growdisk.cli.images.shared import add_format, add_path, ended_like_ctrl_c, note_rounded
from growdisk.cli.keys import add_key, keys_of
from growdisk.cli.output import CommandOutput
from growdisk.errors import BadSize, shell_word
from growdisk.planner.option_table import RESIZE_TO
from growdisk.qcow2.features import Incompatible
from growdisk.units import SizeSpec, format_size, parse_goal_size

_SIZE = re.compile(r"-[0-9.]+[A-Za-z]*$")


def resize_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser)
    shrinking = "with --shrink: -10G by, 4G to"
    parser.add_argument("size", metavar="SIZE", help=help_of(RESIZE_TO, shrinking))
    # argparse takes a word like -10 for a value, by this pattern of its own; -10G has to count too.
    parser._negative_number_matcher = _SIZE
    add_format(parser)
    text = "make a version 2 image version 3 before (compat=1.1): its snapshots need it"
    add_flag(parser, "--upgrade", text)
    add_flag(parser, "--shrink", "consent to lose what lies beyond the new end")
    declare(parser, "preallocation", more="metadata is for qcow2")
    declare(parser, "overlays_may_break")
    add_key(parser)


@ended_like_ctrl_c()
def run_resize(arguments: argparse.Namespace, output: CommandOutput) -> int:
    size, header = _change_of(arguments.size), header_at(arguments.path)
    upgraded = arguments.upgrade and header is not None and header.version < 3
    old, new = resize_image(
        arguments.path,
        size,
        arguments.format,
        shrink=arguments.shrink,
        preallocation=arguments.preallocation,
        key=keys_of(arguments),
        upgrade=arguments.upgrade,
        overlays_may_break=arguments.overlays_may_break,
    )
    result = "changed" if upgraded or old != new else "nochange"
    output.document({"result": result, "before": old, "after": new})
    # +10G of a disk of odd length may be rounded too: the sum counts, not what was typed.
    note_rounded(output, size.resolve(old), new)
    if upgraded:
        output.note(f"{arguments.path}: version 2 -> 3")
    if old != new:
        output.note(f"{arguments.path}: {format_size(old)} -> {format_size(new)}")
    elif not upgraded:
        output.note(f"{arguments.path}: nothing to do, it has {format_size(old)} already")
    if new > old:
        grows = f"growdisk expand {shell_word(arguments.path)}"
        if header is not None and header.has(Incompatible.DATA_FILE):
            grows = "a tool inside the guest (growpart, resize2fs)"
        output.note(f"the partitions inside are as before; {grows} grows them")
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


def compact_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser, metavar="PATH")
    declare(parser, "overlays_may_break")
    add_key(parser)
    parser.epilog = (
        "Snapshots, backing file and dirty bitmaps stay. Needs room for the new file "
        "beside the old."
    )


@ended_like_ctrl_c()
def run_compact(arguments: argparse.Namespace, output: CommandOutput) -> int:
    # Not for `resize`, which has nothing to do with what makes a new image.
    from growdisk.api.images.compacting import compact_image

    path, keys, may_break = arguments.path, keys_of(arguments), arguments.overlays_may_break
    with output.working(f"compacting {path.name}"):
        before, after = compact_image(path, keys, overlays_may_break=may_break)
    # compact_image keeps the old file if the new one is not smaller.
    result = "nochange" if before == after else "changed"
    output.document({"result": result, "filename": str(path), "before": before, "after": after})
    told = "nothing to give back," if before == after else f"{format_size(before)} ->"
    output.note(f"{path}: {told} {format_size(after)} on the host")
    return 0
