"""Arguments that several verbs share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.cli.common_options import add_overlays_may_break, group_of
from growdisk.cli.disk_options import (
    add_layout_options,
    add_others,
    add_volume_options,
    declare,
    help_of,
    keys_of,
)
from growdisk.cli.targets import add_inside, add_machine, settle_positionals
from growdisk.errors import BadSize, UsageError, shell_word
from growdisk.fast_dataclass import replace
from growdisk.planner.goal import Goal, OtherDisk, RunOptions
from growdisk.planner.option_table import SHARED
from growdisk.planner.rule_words import rule_of
from growdisk.planner.size_specs import (
    growth_requests,
    parse_percent,
    requests_by_disk,
    volume_requests,
)
from growdisk.units import SizeSpec, parse_goal_size

if TYPE_CHECKING:
    from growdisk.qcow2.probe import ImageFormat

_MOST_PARTITIONS = 128
IMAGE_HERE = "the image: a file, a block device, or POOL/VOLUME of libvirt"
_IMAGE_ANYWHERE = f"{IMAGE_HERE}; on another host, nbd:// or ssh://"


def add_target(parser: argparse.ArgumentParser, what: str = _IMAGE_ANYWHERE) -> None:
    parser.add_argument("target", type=Path, nargs="?", metavar="TARGET", help=what)
    declare(parser, "format", "-f")
    add_machine(parser)
    add_inside(parser)


def add_image(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, nargs="?", metavar="IMAGE", help=_IMAGE_ANYWHERE)
    add_machine(parser)


def add_goal(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument(
        "size",
        nargs="?",
        metavar="SIZE",
        help=help_of(SHARED["size"], "b k M G T P E are powers of 1024"),
    )
    # Groups stand in the help in the order in which they are made, not in that of their options.
    rule = group_of(parser, "only if it is needed")
    for name, metavar in (
        ("when_used", "N%"),
        ("max_size", "SIZE"),
        ("min_interval", "TIME"),
        ("keep_host_free", "N%"),
    ):
        declare(rule, name, metavar=metavar)
    add_layout_options(parser)
    add_volume_options(parser)
    add_others(parser)
    work = group_of(parser, "how it is done")
    declare(
        work,
        "backend",
        more="direct is this machine's own tools, uml a kernel that runs as a program, guestfs "
        "libguestfs's appliance",
    )
    back = group_of(parser, "the way back")
    declare(
        back,
        "snapshots",
        more="auto is internal for qcow2 v3, and overlay otherwise and for images with many tables",
    )
    add_overlays_may_break(back)
    declare(back, "keep_snapshots")
    declare(work, "not_in_use")
    declare(work, "preallocation", more="for raw images, with falloc")


def goal_of(arguments: argparse.Namespace) -> Goal:
    settle_positionals(arguments)
    size = _size(arguments) if arguments.size is not None else None
    # Those for the first disk; options_of reads the others'. growdisk script has no --with.
    requests, *_ = requests_by_disk(arguments.grow, len(getattr(arguments, "others", ())))
    return Goal(
        size,
        arguments.partition,
        arguments.swap,
        _numbers(arguments.delete),
        arguments.preallocation,
        move=_numbers(arguments.move),
        grow=growth_requests(requests),
        sector_size=arguments.sector_size,
        to_gpt=arguments.to_gpt,
        lv=volume_requests(arguments.lv),
        lv_share=parse_percent(arguments.lv_share),
        repair=not arguments.no_guest_repair,
        rule=rule_of(
            arguments.when_used,
            arguments.max_size,
            arguments.min_interval,
            arguments.keep_host_free,
        ),
    )


def _numbers(given: list[int]) -> tuple[int, ...]:
    return tuple(sorted(set(given)))


def _not_a_partition(error: BadSize, word: str) -> BadSize:
    """growpart's `IMAGE 1` means partition 1."""
    if word.isdigit() and int(word) <= _MOST_PARTITIONS:
        # A bare number up to 128 is hardly a size: that many partitions a GPT usually has room for.
        return replace(error, hint=f"a partition is named with --partition {word}; {error.hint}")
    return error


def _size(arguments: argparse.Namespace) -> SizeSpec:
    word, target = arguments.size, arguments.target
    try:
        return parse_goal_size(word)
    except BadSize as error:
        # A file where the SIZE should be: the two words are swapped, or there are two images.
        if not Path(word).is_file():
            raise _not_a_partition(error, word) from None
        if _is_size(str(target)):
            hint = (
                f"the image comes first: {arguments.parser.prog} {shell_word(Path(word))} {target}"
            )
            raise UsageError(f"{target} stands where the image should", hint) from error
        hint = (
            f"another disk of the same guest: --with {shell_word(Path(word))}=+10G; another "
            "guest: a run of its own"
        )
        raise UsageError(f"{word} stands where the size should", hint=hint) from error


def _is_size(word: str) -> bool:
    try:
        return bool(parse_goal_size(word))
    except BadSize:
        return False


def options_of(arguments: argparse.Namespace) -> RunOptions:
    if arguments.keep_snapshots and arguments.snapshots == "none":
        raise UsageError(
            "--keep-snapshots and --snapshots none exclude each other", hint="leave one of them out"
        )
    return RunOptions(
        arguments.backend,
        arguments.snapshots,
        arguments.keep_snapshots,
        keys_of(arguments),
        _other_disks(arguments.others, arguments.grow, goal_of(arguments)),
        arguments.not_in_use,
        overlays_may_break=arguments.overlays_may_break,
    )


def _other_disks(
    words: Sequence[str], requests: Sequence[str], like: Goal
) -> tuple[OtherDisk, ...]:
    """`data.qcow2`, `data.qcow2=+10G`.

    One with a size, or with a partition that `requests` name, grows itself; what may be given up
    for it is as for the first disk.
    """
    return tuple(
        _other_disk(word, own, like)
        for word, own in zip(words, requests_by_disk(requests, len(words))[1:], strict=True)
    )


def _other_disk(word: str, requests: Sequence[str], like: Goal) -> OtherDisk:
    # A file's own name may have a = in it: then it is a name alone.
    name, equals, size = (
        word.rpartition("=") if "=" in word and not Path(word).exists() else (word, "", "")
    )
    if not (equals or requests):
        return OtherDisk(Path(name))
    wanted = parse_goal_size(size) if equals else None
    grow, sectors = growth_requests(requests), like.sector_size
    return OtherDisk(
        Path(name), Goal(wanted, swap=like.swap, grow=grow, sector_size=sectors, repair=like.repair)
    )


def format_of(arguments: argparse.Namespace) -> ImageFormat | None:
    # argparse has checked the choices; a Namespace has no types.
    chosen: ImageFormat | None = arguments.format
    return chosen
