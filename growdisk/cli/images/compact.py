"""growdisk image compact: an image without its unused clusters, in its own place."""

from __future__ import annotations

import argparse

from growdisk.cli.common_options import add_overlays_may_break
from growdisk.cli.images.keys import add_key, unlocking
from growdisk.cli.images.shared import add_path, ended_like_ctrl_c, human_size
from growdisk.cli.output import CommandOutput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser, metavar="PATH")
    add_overlays_may_break(parser)
    add_key(parser)
    parser.epilog = (
        "Snapshots, backing file and dirty bitmaps stay. Needs room for the new file "
        "beside the old."
    )


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.api.images.compacting import compact_image

    def compact(keys: tuple[bytes, ...]) -> tuple[int, int]:
        with output.working(f"compacting {arguments.path.name}"):
            return compact_image(
                arguments.path, keys, overlays_may_break=arguments.overlays_may_break
            )

    with ended_like_ctrl_c():
        before, after = unlocking(arguments, compact)
    # compact_image keeps the old file if the new one is not smaller.
    result = "nochange" if before == after else "changed"
    output.document(
        {"result": result, "filename": str(arguments.path), "before": before, "after": after}
    )
    if before == after:
        output.note(f"{arguments.path}: nothing to give back, {human_size(after)} on the host")
        return 0
    output.note(f"{arguments.path}: {human_size(before)} -> {human_size(after)} on the host")
    return 0
