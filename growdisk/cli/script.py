"""growdisk script: the guest-side scripts as files, to be carried over by hand."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from growdisk.cli.arguments import IMAGE_HERE, add_target, format_of, goal_of
from growdisk.cli.common_options import named_path
from growdisk.cli.disk_options import add_layout_options, add_volume_options, keys_of
from growdisk.cli.output import CommandOutput
from growdisk.cli.targets import target_of
from growdisk.fast_dataclass import asdict

if TYPE_CHECKING:
    from growdisk.api.scripts import WrittenScripts

NAME = "script"
HELP = (
    "write scripts that grow the disk from inside its running guest, with a README; touch "
    "nothing else"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser, IMAGE_HERE)
    parser.add_argument(
        "size", nargs="?", metavar="SIZE", help="as for expand; if left out, grow into unused space"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=named_path,
        required=True,
        metavar="DIR",
        help="a new or empty folder",
    )
    add_layout_options(parser)
    add_volume_options(parser)
    # goal_of reads them, and they are not options here: the scripts grow the disk whenever somebody
    # runs them, so no rule says when.
    parser.set_defaults(
        preallocation="off", when_used=None, max_size=None, min_interval=None, keep_host_free=None
    )


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.api.scripts import write_scripts

    goal = goal_of(arguments)
    written = write_scripts(
        target_of(arguments), goal, arguments.output, format_of(arguments), keys_of(arguments)
    )
    output.document(_document(written))
    output.lines(_lines(written))
    return 0


def _document(written: WrittenScripts) -> dict[str, object]:
    return {
        "result": "written" if written.plan else "nochange",
        "run": written.plan.run if written.plan else None,
        "folder": str(written.folder),
        "files": list(written.files),
        "before": asdict(written.before),
        "after": asdict(written.after),
        "given_up": list(written.given_up),
        **({"reason": written.reason} if written.reason else {}),
    }


def _lines(written: WrittenScripts) -> Iterator[str]:
    if written.plan is None:
        yield f"nothing to do: {written.reason}"
        return
    for item in written.given_up:
        yield f"would be given up: {item}"
    yield f"{len(written.files)} files in {written.folder}: README.md says what to run when"
    yield "nothing else has been touched; the disk itself is not larger yet"
