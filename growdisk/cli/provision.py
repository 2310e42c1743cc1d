"""growdisk provision: a base image in, ready images out, before their first boot."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.cli.output import Output
from growdisk.units import parse_size

if TYPE_CHECKING:
    from growdisk.api import Recipe

NAME = "provision"
HELP = "make ready images of a base image, grown with all layers, before their first boot"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("base", type=Path, metavar="BASE", help="the base image; it is only read, and may be shared")
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT", help="the new image")
    parser.add_argument("--size", metavar="SIZE", help="40G grows to, +10G by; left out: as large as the base")
    parser.add_argument("--overlay", action="store_true", help="OUT is an overlay on BASE, which must stay as it is")
    parser.add_argument("-f", "--base-format", choices=("qcow2", "raw"), help="the base's format (default: probed)")
    parser.add_argument("-O", "--format", choices=("qcow2", "raw"), help="the format of OUT (default: that of BASE)")
    parser.add_argument("--compress", action="store_true", help="compress the clusters of OUT (qcow2)")
    parser.add_argument("--compression", choices=("zlib", "zstd"), help="how; the same as --compress")
    parser.add_argument("--partition", default="auto", metavar="N", help="which one grows (default: the root)")
    parser.add_argument(
        "--swap", choices=("drop", "move", "file"), default="drop", help="what becomes of swap in the way"
    )
    parser.add_argument("--backend", choices=("auto", "guestfs", "direct"), default="auto", help="who works inside")
    parser.add_argument("--force", action="store_true", help="put OUT in the place of what is there")
    parser.add_argument("-j", "--jobs", type=int, default=1, metavar="N", help="outputs that are made at once")
    parser.add_argument("-n", "--dry-run", action="store_true", help="look and plan, write nothing")


def run(arguments: argparse.Namespace, output: Output) -> int:
    from growdisk import api
    from growdisk.cli.provisioned import Lines, tell
    from growdisk.workflow.stopping import SignalsStop, StopRequest

    wanted = [api.Output(arguments.out)] if arguments.out is not None else []
    recipe = recipe_of(arguments)
    with SignalsStop(StopRequest()) as stop:
        report = api.provision(
            arguments.base, wanted, recipe, force=arguments.force, jobs=arguments.jobs, dry_run=arguments.dry_run,
            watcher=Lines(output), stop=stop,
        )  # fmt: skip
    return tell(report, output)


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    from growdisk.api import Recipe

    return Recipe(
        parse_size(arguments.size) if arguments.size is not None else None, arguments.overlay, arguments.format,
        arguments.compress, arguments.compression, arguments.base_format, arguments.partition, arguments.swap,
        arguments.backend,
    )  # fmt: skip
