"""growdisk show: the disk drawn, with what is in it and what blocks its growth."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from growdisk.cli.arguments import add_target, format_of
from growdisk.cli.layout_options import add_sector_size
from growdisk.cli.output import Output
from growdisk.cli.targets import target_of
from growdisk.cli.volume_options import add_keys, keys_of

NAME = "show"
HELP = "draw the disk: image, partitions, what is in them and how full, what blocks growth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    add_sector_size(parser)
    add_keys(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    from growdisk import api
    from growdisk.cli.drawing import bar
    from growdisk.cli.listing import blockers, headline, table, volumes
    from growdisk.planner.layout import layout_of

    target, keys = target_of(arguments), keys_of(arguments)
    layout = layout_of(api.inspect(target, format_of(arguments), arguments.sector_size, keys))
    output.document(asdict(layout))
    width = output.width
    output.lines([*headline(layout, width), *bar(layout, width), *table(layout, width), *volumes(layout, width)])
    output.lines(blockers(layout.blockers, width))
    return 0
