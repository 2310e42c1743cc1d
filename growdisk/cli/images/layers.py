"""What is done with overlays: growdisk image overlay, commit, rebase."""

from __future__ import annotations

import argparse
from pathlib import Path

from growdisk.api.images.creating import create_overlay
from growdisk.api.images.layers import commit_overlay, rebase_overlay, rebase_unsafe
from growdisk.cli.common_options import add_flag, add_value
from growdisk.cli.declaring import declare
from growdisk.cli.images.shared import add_path, ended_like_ctrl_c, note_run
from growdisk.cli.keys import add_key, keys_of
from growdisk.cli.output import CommandOutput
from growdisk.planner.option_table import CREATING
from growdisk.qcow2.named_files import is_beside
from growdisk.qcow2.probe import refuse_misleading_name
from growdisk.units import format_size


def overlay_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser, "base", metavar="BASE")
    parser.add_argument("path", type=Path, metavar="NEW", help="the overlay, a new file")
    declare(parser, CREATING["backing_format"], "-F")


def run_overlay(arguments: argparse.Namespace, output: CommandOutput) -> int:
    refuse_misleading_name(arguments.path, "qcow2")
    size = create_overlay(arguments.base, arguments.path, arguments.backing_format)
    output.document({"result": "created", "filename": str(arguments.path), "virtual-size": size})
    output.note(f"{arguments.path}: {format_size(size)} on {arguments.base}")
    if not is_beside(arguments.path, arguments.base):
        output.note("its backing file is in another folder: commands need --trust-references")
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


@ended_like_ctrl_c()
def run_commit(arguments: argparse.Namespace, output: CommandOutput) -> int:
    path, keys, may_break = arguments.path, keys_of(arguments), arguments.overlays_may_break
    # Ended half-way, nothing is lost: the overlay is emptied last.
    with output.bar(f"committing {path.name}") as progress:
        base = commit_overlay(path, progress, keys, overlays_may_break=may_break)
    output.document({"result": "changed", "filename": str(path), "backing-filename": str(base)})
    output.note(f"{path} is empty now; its data are in {base}")
    return 0


def rebase_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser, metavar="OVERLAY")
    text = (
        "the new backing file; counts from the overlay's directory (left out or empty: the "
        "overlay stands alone)"
    )
    add_value(parser, "-b --backing", "NEW", text)
    declare(parser, CREATING["backing_format"], "-F")
    add_flag(parser, "-u --unsafe", "only write the name; the guest sees what the new base shows")
    declare(parser, "overlays_may_break")
    add_key(parser)


@ended_like_ctrl_c()
def run_rebase(arguments: argparse.Namespace, output: CommandOutput) -> int:
    # -b '' as with qemu-img: no backing file.
    path, name, form = arguments.path, arguments.backing or None, arguments.backing_format
    if arguments.unsafe:
        # Only this changes what the guest sees; it reads no data, so needs no passphrase.
        rebase_unsafe(path, name, form, overlays_may_break=arguments.overlays_may_break)
    else:
        note_run(path, output)
        with output.bar(f"rebasing {path.name}") as progress:
            rebase_overlay(path, name, form, progress, keys_of(arguments))
    output.document({"result": "changed", "filename": str(path), "backing-filename": name})
    return 0
