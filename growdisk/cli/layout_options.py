"""The options that say which partitions grow, and what may happen to those in the way."""

from __future__ import annotations

import argparse
import re

from growdisk.cli.common_options import group_of
from growdisk.cli.declared_options import declare

_PARTITION = re.compile(r"(?:/dev/)?(?:[a-z]+|nvme\d+n\d+p|mmcblk\d+p)?(\d+)")


def partition_number(text: str) -> int:
    """`5`, `sda5`, `/dev/vda5`, `nvme0n1p5` as 5."""
    match = _PARTITION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not a partition: write its number, or a name such as sda5")
    return int(match[1])


def add_layout_options(parser: argparse.ArgumentParser) -> None:
    grows, gives_way = group_of(parser, "what grows"), group_of(parser, "what gives way")
    declare(grows, "partition", metavar="auto|N|/dev/sdaN")
    declare(grows, "grow", metavar="sdaN=SHARE")
    declare(gives_way, "swap")
    declare(gives_way, "move", type=partition_number, metavar="N", more="with all that is in them")
    declare(gives_way, "delete", type=partition_number, metavar="N")
    gives_way.add_argument(
        "--no-guest-repair", action="store_true",
        help="leave the guest's own files (fstab, RESUME, boot loader) as they are, whatever they name",
    )  # fmt: skip
    add_sector_size(parser)
    declare(grows, "to_gpt", more="for more than 2 TiB")


def add_sector_size(parser: argparse.ArgumentParser) -> None:
    declare(parser, "sector_size", choices=(512, 4096))
