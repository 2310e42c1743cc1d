"""growdisk provision: a base image in, ready images out, before their first boot."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from growdisk import api
from growdisk.cli.declaring import help_of
from growdisk.cli.output import CommandOutput
from growdisk.cli.provision_options import add_customizing, add_making, recipe_of
from growdisk.errors import UsageError, options_conflict
from growdisk.planner.option_table import PROVISIONING

NAME = "provision"
HELP = "make ready images of a base image, grown with all layers, before their first boot"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    base = help_of(PROVISIONING["base"], "it may be shared")
    parser.add_argument("base", type=Path, metavar="BASE", help=base)
    parser.add_argument(
        "out",
        nargs="?",
        metavar="OUT",
        help="the new image; with --count a pattern: web-{n:02}.qcow2",
    )
    add_making(parser)
    many = parser.add_argument_group("many outputs of one base")
    many.add_argument("--count", type=int, metavar="N", help="N outputs, numbered from 1")
    many.add_argument(
        "--list", type=Path, metavar="FILE", help="CSV or YAML: name, size, variables"
    )
    many.add_argument(
        "-j",
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="how many are made at once (default: 1)",
    )
    add_customizing(parser)


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.cli.provision_report import Lines, tell
    from growdisk.workflow.stopping import SignalsStop, StopRequest

    recipe, own = recipe_of(arguments)
    outputs = _outputs(arguments, own)
    with SignalsStop(StopRequest()) as stop, output.working() as working:
        report = api.provision(
            arguments.base,
            outputs,
            recipe,
            force=arguments.force,
            jobs=arguments.jobs,
            dry_run=arguments.dry_run,
            watcher=Lines(output, working),
            stop=stop,
        )
    return tell(report, output)


def _outputs(arguments: argparse.Namespace, own: Sequence[api.Output]) -> Sequence[api.Output]:
    """By OUT, by a list, or by the recipe itself. UsageError if they contradict each other."""
    from growdisk.api.provisioning.output_lists import counted, read_output_list

    if arguments.list is not None:
        if arguments.out is not None or arguments.count is not None:
            raise options_conflict(
                "--list names the outputs: OUT and --count would as well",
                ("--list", "--count"),
                hint="leave them out",
            )
        return read_output_list(arguments.list)
    if arguments.out is None:
        if arguments.count is not None:
            raise UsageError(
                "--count needs a name for the outputs",
                hint="growdisk provision BASE 'web-{n}.qcow2' …",
            )
        return own
    return counted(arguments.out, 1 if arguments.count is None else arguments.count)
