"""growdisk show: the disk drawn, with what is in it and what blocks its growth."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from growdisk.cli.arguments import add_target, format_of
from growdisk.cli.output import Output
from growdisk.units import format_size

if TYPE_CHECKING:
    from growdisk.planner.layout import Layout

NAME = "show"
HELP = "draw the disk: image, partitions, what is in them and how full, what blocks growth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    from growdisk import api
    from growdisk.cli.drawing import draw
    from growdisk.planner.layout import layout_of

    layout = layout_of(api.inspect(arguments.target, format_of(arguments)))
    output.document(asdict(layout))
    output.lines(draw(layout, output.width))
    output.lines(_blockers(layout))
    return 0


def _blockers(layout: Layout) -> Iterator[str]:
    for blocker in layout.blockers:
        yield f"in the way of growth: {blocker.name} ({blocker.kind}, {format_size(blocker.size)})"
