"""Arguments that several verbs share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from growdisk.cli.common_options import add_list, add_value, group_of
from growdisk.cli.declaring import declare, help_of
from growdisk.cli.keys import keys_of
from growdisk.cli.targets import add_inside, add_machine, settle_positionals
from growdisk.errors import BadSize, UsageError, bad_value, shell_word
from growdisk.fast_dataclass import replace
from growdisk.planner import given_values
from growdisk.planner.given_values import (
    GivenValues,
    disk_number,
    growth_requests,
    requests_by_disk,
    run_options_of,
)
from growdisk.planner.goal import Goal, OtherDisk, RunOptions
from growdisk.planner.option_table import BY_RULE, SECTOR_SIZES, SHARED
from growdisk.units import parse_goal_size

_MOST_PARTITIONS = 128
_EACH = "one at a time, may be given several times"
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
    text = help_of(SHARED["size"], "b k M G T P E are powers of 1024")
    add_value(parser, "size", "SIZE", text, nargs="?")
    # Groups stand in the help in the order in which they are made, not in that of their options.
    rule = group_of(parser, "only if it is needed")
    for option, metavar in zip(BY_RULE, ("N%", "SIZE", "TIME", "N%"), strict=True):
        declare(rule, option, metavar=metavar)
    add_layout_options(parser)
    add_volume_options(parser)
    add_list(
        group_of(parser, "what grows"),
        "--with",
        "IMAGE[=SIZE]",
        "another disk of the guest in the same run: one that grows as well (sdb in --grow), "
        "or one onto which a volume group reaches; may be given several times",
        dest="others",
    )
    work = group_of(parser, "how it is done")
    declare(
        work,
        "backend",
        more="direct is this machine's own tools, uml a kernel that runs as a program, guestfs "
        "libguestfs's appliance",
    )
    back = group_of(parser, "the way back")
    text = "auto is internal for qcow2 v3, and overlay otherwise and for images with many tables"
    declare(back, "snapshots", more=text)
    declare(back, "overlays_may_break")
    declare(back, "keep_snapshots")
    declare(work, "not_in_use")
    declare(work, "preallocation")


def goal_of(arguments: argparse.Namespace) -> Goal:
    settle_positionals(arguments)
    if arguments.size is not None:
        _refuse_no_size(arguments)
    # growdisk script has no --with.
    others = len(getattr(arguments, "others", ()))
    if others:
        _refuse_names_of_others(arguments)
    # Those for the first disk; options_of reads the others'.
    requests, *_ = requests_by_disk(arguments.grow, others)
    return given_values.goal_of(GivenValues({**vars(arguments), "grow": requests}))


def _refuse_names_of_others(arguments: argparse.Namespace) -> None:
    """Each of these options is about the first disk: sdb2 must not be taken for sda2."""
    alone = "it goes for the first disk alone: grow the other one in a run of its own"
    named = [("--partition", arguments.partition, "say --grow {}=rest for a further disk")]
    named += [("--move", number.written, alone) for number in arguments.move]
    named += [("--delete", number.written, alone) for number in arguments.delete]
    for option, word, hint in named:
        if disk_number(word):
            problem = f"{option} {word} is on another disk"
            raise bad_value(problem, option, word, hint=hint.format(word))


def _not_a_partition(error: BadSize, word: str) -> BadSize:
    """growpart's `IMAGE 1` means partition 1."""
    if word.isdigit() and int(word) <= _MOST_PARTITIONS:
        # A bare number up to 128 is hardly a size: that many partitions a GPT usually has room for.
        return replace(error, hint=f"a partition is named with --partition {word}; {error.hint}")
    return error


def _refuse_no_size(arguments: argparse.Namespace) -> None:
    """Name the word that stands where the size should, if it was meant as something else."""
    word, target = arguments.size, arguments.target
    try:
        parse_goal_size(word)
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
    words, first = arguments.others, goal_of(arguments)
    _, *requests = requests_by_disk(arguments.grow, len(words))
    others = tuple(_other_disk(word, own, first) for word, own in zip(words, requests, strict=True))
    return run_options_of(GivenValues(vars(arguments)), keys_of(arguments), others)


def _other_disk(word: str, requests: Sequence[str], like: Goal) -> OtherDisk:
    """`data.qcow2`, `data.qcow2=+10G`: one with a size, or named by `requests`, grows itself.

    What may be given up for it is as for the first disk, whose goal is `like`.
    """
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


# The options that say which partitions grow, and what may happen to those in the way.

# A p stands between a disk's name that ends with a digit and the number of its partition.
_PARTITION = r"(?:/dev/)?(?:[a-z]+|nvme\d+n\d+p|mmcblk\d+p)?([0-9]{1,9})"


class PartitionNumber(int):
    """`written` is how it was given: `sda5`."""

    written: str


def partition_number(text: str) -> PartitionNumber:
    """`5`, `sda5`, `/dev/vda5`, `nvme0n1p5` as 5."""
    match = re.fullmatch(_PARTITION, text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a partition: write its number, or a name such as sda5"
        )
    number = PartitionNumber(match[1])
    number.written = text
    return number


def add_layout_options(parser: argparse.ArgumentParser) -> None:
    grows, gives_way = group_of(parser, "what grows"), group_of(parser, "what gives way")
    declare(grows, "partition", metavar="auto|N|/dev/sdaN")
    declare(grows, "grow", metavar="sdaN=SHARE", more=_EACH)
    declare(gives_way, "swap")
    text = f"with all that is in them; {_EACH}"
    declare(gives_way, "move", type=partition_number, metavar="N", more=text)
    declare(gives_way, "delete", type=partition_number, metavar="N", more=_EACH)
    declare(
        gives_way,
        "guest_repair",
        off="leave the guest's own files (fstab, RESUME, boot loader) as they are, whatever they "
        "name",
    )
    add_sector_size(parser)
    declare(grows, "to_gpt", more="for more than 2 TiB")


def add_sector_size(parser: argparse.ArgumentParser, more: str = "") -> None:
    declare(parser, "sector_size", choices=SECTOR_SIZES, more=more)


# The options for logical volumes and passphrases.

_KEY_FILE = (
    "all bytes of FILE, and if they open nothing there, those before a line break at its end; may "
    "be given several times: each container takes the one that opens it"
)


def add_volume_options(parser: argparse.ArgumentParser) -> None:
    grows = group_of(parser, "what grows")
    declare(
        grows, "lv", metavar="VG/LV[=SHARE]", more=f"if left out, the largest by all of it; {_EACH}"
    )
    declare(grows, "lv_share", metavar="60%", more="the rest stays free, for snapshots")
    add_keys(parser)


def add_keys(parser: argparse.ArgumentParser) -> None:
    keys = group_of(parser, "passphrases")
    declare(keys, "key_file", metavar="FILE", more=_KEY_FILE)
    add_list(
        keys,
        "--key",
        "PASSPHRASE|ID:key:PASSPHRASE|ID:file:FILE",
        "the same on the command line, where others may see it; the long forms are those of "
        "virt-* tools",
    )
