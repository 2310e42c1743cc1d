"""growdisk image rebase: an overlay on another backing file, or on none."""

from __future__ import annotations

import argparse

from growdisk.cli.common_options import add_overlays_may_break
from growdisk.cli.images.keys import add_key, unlocking
from growdisk.cli.images.shared import add_path, ended_like_ctrl_c, note_run
from growdisk.cli.output import CommandOutput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser, metavar="OVERLAY")
    parser.add_argument(
        "-b",
        "--backing",
        metavar="NEW",
        help="the new backing file; counts from the overlay's directory (left out or empty: the "
        "overlay stands alone)",
    )
    parser.add_argument(
        "-F", "--backing-format", choices=("qcow2", "raw"), help="its format (default: probed)"
    )
    parser.add_argument(
        "-u",
        "--unsafe",
        action="store_true",
        help="only write the name; the guest sees what the new base shows",
    )
    add_overlays_may_break(parser)
    add_key(parser)


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.api.images.layers import rebase_overlay, rebase_unsafe

    # -b '' as with qemu-img: no backing file.
    name = arguments.backing or None
    if arguments.unsafe:
        # Only this changes what the guest, and overlays on it, see; and it reads no data, so it
        # needs no passphrase.
        rebase_unsafe(
            arguments.path,
            name,
            arguments.backing_format,
            overlays_may_break=arguments.overlays_may_break,
        )
    else:
        note_run(arguments.path, output)

        def rebase(keys: tuple[bytes, ...]) -> None:
            with ended_like_ctrl_c(), output.bar(f"rebasing {arguments.path.name}") as progress:
                rebase_overlay(arguments.path, name, arguments.backing_format, progress, keys)

        unlocking(arguments, rebase)
    output.document(
        {"result": "changed", "filename": str(arguments.path), "backing-filename": name}
    )
    return 0
