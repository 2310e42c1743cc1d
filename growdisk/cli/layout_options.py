"""The options that say which partitions grow, and what may happen to those in the way."""

from __future__ import annotations

import argparse
import re

from growdisk.cli.common_options import group_of

_PARTITION = re.compile(r"(?:/dev/)?(?:[a-z]+|nvme\d+n\d+p|mmcblk\d+p)?(\d+)")


def partition_number(text: str) -> int:
    """`5`, `sda5`, `/dev/vda5`, `nvme0n1p5` as 5."""
    match = _PARTITION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not a partition: write its number, or a name such as sda5")
    return int(match[1])


def add_layout_options(parser: argparse.ArgumentParser) -> None:
    grows, gives_way = group_of(parser, "what grows"), group_of(parser, "what gives way")
    grows.add_argument(
        "--partition", default="auto", metavar="auto|N|/dev/sdaN",
        help="which partition grows (default: the largest that can)",
    )  # fmt: skip
    grows.add_argument(
        "--grow", action="append", default=[], metavar="sdaN=SHARE",
        help="several partitions, each with a share of the space: 60%%, +5G, 40G, rest",
    )  # fmt: skip
    gives_way.add_argument(
        "--swap", choices=("drop", "move", "file"),
        help="swap in the way: removed, moved to the end of the disk, or made a file of the guest (default: removed if "
        "the guest's files can be changed, else moved)",
    )  # fmt: skip
    gives_way.add_argument(
        "--move", type=partition_number, action="append", default=[], metavar="N",
        help="consent to copy partition N to the end of the disk, with all that is in it",
    )  # fmt: skip
    gives_way.add_argument(
        "--delete", type=partition_number, action="append", default=[], metavar="N",
        help="consent to lose another partition",
    )  # fmt: skip
    gives_way.add_argument(
        "--no-guest-repair", action="store_true",
        help="leave the guest's own files (fstab, RESUME, boot loader) as they are, whatever they name",
    )  # fmt: skip
    add_sector_size(parser)
    grows.add_argument(
        "--to-gpt",
        action="store_true",
        help="let an MBR become a GPT, for more than 2 TiB: where nothing starts from the disk",
    )


def add_sector_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sector-size", type=int, choices=(512, 4096), default=512,
        help="the disk's logical sectors, as its machine shows them (default: 512)",
    )  # fmt: skip
