"""growdisk list: many disks, a line each: how full, how large, what prevents growth."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path

from growdisk.api.fleet.values import DiskEntry
from growdisk.cli.common_options import named_path
from growdisk.cli.output import CommandOutput
from growdisk.durable import replace_file
from growdisk.errors import Refused, UsageError
from growdisk.given_file import refuse_to_replace

NAME = "list"
HELP = "many disks at a glance: a line each, how full they are and what hinders growth"
_NONE_READ = Refused.exit_code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="IMAGE|GLOB|DIR",
        help="images, patterns, folders (default: all machines of libvirt)",
    )
    parser.add_argument(
        "-d",
        "--domain",
        action="append",
        default=[],
        metavar="NAME",
        help="a machine of libvirt, or a pattern (web*)",
    )
    parser.add_argument("--all-domains", action="store_true", help="all machines of libvirt")
    parser.add_argument(
        "-c", "--connect", metavar="URI", help="which libvirt (default: its own choice)"
    )
    parser.add_argument(
        "--sort",
        choices=("name", "fullness", "size"),
        help="the fullest, the largest first (default: as they are named)",
    )
    parser.add_argument(
        "--above",
        type=percent_of,
        metavar="N%",
        help="only disks with a file system that is fuller than that",
    )
    parser.add_argument(
        "--html",
        type=named_path,
        metavar="FILE",
        help="write one page for a browser, with disks drawn to scale",
    )


def percent_of(text: str) -> float:
    """`85%` or `85` as 0.85."""
    number = text.strip().removesuffix("%").strip()
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a percentage: write 85%, from 0% to 100%"
        )
    return value / 100


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.api.fleet.listing import Wanted, list_disks
    from growdisk.cli.fleet_table import document, rows

    # Before the work, which may take long: a name that cannot be meant is refused at once.
    if arguments.html:
        refuse_to_replace(arguments.html, "--html")
    wanted = Wanted(
        tuple(arguments.paths),
        tuple(arguments.domain),
        # Nothing is named: all machines of libvirt.
        arguments.all_domains or not (arguments.paths or arguments.domain),
        arguments.connect,
    )
    with output.working("looking at the disks"):
        found = list_disks(wanted)
    if not found and arguments.paths:
        raise UsageError(
            "no image was found there", "name images, folders that hold some, or -d NAME"
        )
    chosen = ordered(found, arguments.sort, arguments.above)
    if arguments.html:
        _write_page(arguments.html, chosen)
    output.document({"disks": [document(entry) for entry in chosen]})
    output.lines(rows(chosen, output.width))
    # A few that cannot be read are shown as such. What --above leaves out was read all the same.
    return _NONE_READ if found and all(entry.error for entry in found) else 0


def _write_page(path: Path, entries: list[DiskEntry]) -> None:
    from growdisk.cli.fleet_page import page

    text = page(entries, datetime.now().astimezone())
    try:
        # A file name may hold bytes that are not UTF-8, which Python keeps as lone surrogates.
        replace_file(path, text.encode("utf-8", "replace"), 0o644)
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "name a file in a folder that is there and can be written"
        raise UsageError(f"cannot write {path}", hint, reason) from error


def ordered(entries: list[DiskEntry], sort: str | None, above: float | None) -> list[DiskEntry]:
    """Those that are fuller than `above`, and those of which that cannot be known for an error."""
    # sorted() keeps the order of equals: that in which they were named.
    chosen = [entry for entry in entries if above is None or entry.error or entry.fullness > above]
    match sort:
        case "name":
            return sorted(chosen, key=lambda entry: entry.name)
        case "fullness":
            return sorted(chosen, key=lambda entry: -entry.fullness)
        case "size":
            return sorted(chosen, key=lambda entry: -(entry.virtual_size or 0))
    return chosen
