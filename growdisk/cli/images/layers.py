"""What is done with overlays: growdisk image overlay, commit, rebase."""

from __future__ import annotations

import argparse
from pathlib import Path

from growdisk.api.images.creating import create_overlay
from growdisk.api.images.layers import commit_overlay, rebase_overlay, rebase_unsafe
from growdisk.cli.common_options import add_flag, add_value
from growdisk.cli.declaring import declare
from growdisk.cli.images.shared import add_path, ended_like_ctrl_c, note_run
from growdisk.cli.keys import add_key, unlocking
from growdisk.cli.output import CommandOutput
from growdisk.planner.option_table import CREATING
from growdisk.units import format_size


def overlay_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser, "base", metavar="BASE")
    parser.add_argument("path", type=Path, metavar="NEW", help="the overlay, a new file")
    declare(parser, CREATING["backing_format"], "-F")


def run_overlay(arguments: argparse.Namespace, output: CommandOutput) -> int:
    size = create_overlay(arguments.base, arguments.path, arguments.backing_format)
    output.document({"result": "created", "filename": str(arguments.path), "virtual-size": size})
    output.note(f"{arguments.path}: {format_size(size)} on {arguments.base}")
    return 0


def commit_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser, metavar="OVERLAY")
    declare(parser, "overlays_may_break")
    add_key(parser)
    parser.epilog = (
        "Stopped half-way, the overlay still shows the guest what it showed; commit again to "
        "finish. Refused while other overlays lie on the same backing file, which would lose what "
        "they showed."
    )


def run_commit(arguments: argparse.Namespace, output: CommandOutput) -> int:
    def commit(keys: tuple[bytes, ...]) -> Path:
        # Ended half-way, nothing is lost: the overlay is emptied last.
        with ended_like_ctrl_c(), output.bar(f"committing {arguments.path.name}") as progress:
            return commit_overlay(
                arguments.path, progress, keys, overlays_may_break=arguments.overlays_may_break
            )

    base = unlocking(arguments, commit)
    output.document(
        {"result": "changed", "filename": str(arguments.path), "backing-filename": str(base)}
    )
    output.note(f"{arguments.path} is empty now; its data are in {base}")
    return 0


def rebase_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser, metavar="OVERLAY")
    text = "the new backing file; counts from the overlay's directory (left out or empty: the "
    add_value(parser, "-b --backing", "NEW", f"{text}overlay stands alone)")
    declare(parser, CREATING["backing_format"], "-F")
    add_flag(parser, "-u --unsafe", "only write the name; the guest sees what the new base shows")
    declare(parser, "overlays_may_break")
    add_key(parser)


def run_rebase(arguments: argparse.Namespace, output: CommandOutput) -> int:
    # -b '' as with qemu-img: no backing file.
    name = arguments.backing or None
    if arguments.unsafe:
        # Only this changes what the guest sees; it reads no data, so needs no passphrase.
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
