"""growdisk show: the disk drawn, with what is in it and what blocks its growth."""

from __future__ import annotations

import argparse
from pathlib import Path

from growdisk import api
from growdisk.api.result import StatusReport
from growdisk.cli.arguments import add_keys, add_sector_size, add_target
from growdisk.cli.disk_lines import blocker_lines, headline, partition_rows, standing, volumes
from growdisk.cli.drawing import bar
from growdisk.cli.keys import keys_of
from growdisk.cli.output import CommandOutput
from growdisk.cli.recorded_runs import status_document
from growdisk.cli.targets import target_of
from growdisk.errors import ImageNotReadable
from growdisk.fast_dataclass import asdict
from growdisk.planner.layout import layout_of

_ENDED = ("none", "done", "undone")


def show_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    add_sector_size(parser)
    add_keys(parser)


def run_show(arguments: argparse.Namespace, output: CommandOutput) -> int:
    target = target_of(arguments)
    form, keys = arguments.format, keys_of(arguments)
    layout = layout_of(api.inspect(target, form, arguments.sector_size, keys))
    # The image of what was looked at: the target itself may be the name of a machine.
    report = _run_of(Path(layout.image.path))
    overlays = [str(overlay) for overlay in api.overlays_on(Path(layout.image.path))]
    # Empty ones are left out: most images have neither.
    more = {"run": report and status_document(report), "overlays": overlays}
    output.document(asdict(layout) | {key: value for key, value in more.items() if value})
    width = output.width
    output.lines([*headline(layout, width), *bar(layout, width)])
    output.lines([*partition_rows(layout, width), *volumes(layout, width)])
    output.lines(blocker_lines(layout.blockers, width))
    output.lines(standing(report, overlays, layout.image.path))
    return 0


def _run_of(image: Path) -> StatusReport | None:
    """A run that has not ended, or can still be taken back."""
    try:
        report = api.status(image)
    # A disk that is not a file of this host, or has too long a name, has no run.
    except ImageNotReadable:
        return None
    return None if report.state in _ENDED else report
