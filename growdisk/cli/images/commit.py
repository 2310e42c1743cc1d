"""growdisk image commit: an overlay's data into its backing file."""

from __future__ import annotations

import argparse
from pathlib import Path

from growdisk.cli.common_options import add_overlays_may_break
from growdisk.cli.images.keys import add_key, unlocking
from growdisk.cli.images.shared import add_path, ended_like_ctrl_c
from growdisk.cli.output import CommandOutput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser, metavar="OVERLAY")
    add_overlays_may_break(parser)
    add_key(parser)
    parser.epilog = (
        "Stopped half-way, the overlay still shows the guest what it showed; commit again to "
        "finish. Refused while other overlays lie on the same backing file, which would lose what "
        "they showed."
    )


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.api.images.layers import commit_overlay

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
