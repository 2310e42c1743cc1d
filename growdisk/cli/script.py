"""growdisk script: the guest-side scripts as files, to be carried over by hand."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from growdisk.api.scripts import WrittenScripts, write_scripts
from growdisk.cli.arguments import (
    IMAGE_HERE,
    add_layout_options,
    add_target,
    add_volume_options,
    goal_of,
)
from growdisk.cli.common_options import add_value, named_path
from growdisk.cli.declaring import help_of
from growdisk.cli.keys import keys_of
from growdisk.cli.output import CommandOutput
from growdisk.cli.targets import target_of
from growdisk.fast_dataclass import asdict
from growdisk.planner.option_table import SHARED


def script_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser, IMAGE_HERE)
    parser.add_argument("size", nargs="?", metavar="SIZE", help=help_of(SHARED["size"]))
    add_value(parser, "-o --output", "DIR", "a new or empty folder", type=named_path, required=True)
    add_layout_options(parser)
    add_volume_options(parser)


def run_script(arguments: argparse.Namespace, output: CommandOutput) -> int:
    goal = goal_of(arguments)
    written = write_scripts(
        target_of(arguments), goal, arguments.output, arguments.format, keys_of(arguments)
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
