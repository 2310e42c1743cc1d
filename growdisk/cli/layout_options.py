"""The options that say which partitions grow, and what may happen to those in the way."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from growdisk.errors import UsageError

if TYPE_CHECKING:
    from growdisk.partitions.shares import Share
    from growdisk.planner.goal import Grow

_HINT = "write --grow sda1=60% --grow sda3=rest, or --grow sda1=+5G to grow by, --grow sda1=40G to grow to"


def add_layout_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--partition", default="auto", metavar="auto|N|/dev/sdaN",
        help="which partition grows (default: the largest that can)",
    )  # fmt: skip
    parser.add_argument(
        "--grow", action="append", default=[], metavar="sdaN=SHARE",
        help="several partitions, each with a share of the space: 60%%, +5G, 40G, rest",
    )  # fmt: skip
    parser.add_argument(
        "--swap", choices=("drop", "move", "file"), default="drop",
        help="swap in the way: removed (default), moved to the end of the disk, or made a file of the guest",
    )  # fmt: skip
    parser.add_argument(
        "--move", type=int, action="append", default=[], metavar="N",
        help="consent to copy partition N to the end of the disk, with all that is in it",
    )  # fmt: skip
    parser.add_argument(
        "--delete", type=int, action="append", default=[], metavar="N", help="consent to lose another partition"
    )
    add_sector_size(parser)
    parser.add_argument("--to-gpt", action="store_true", help="refused for now, with the reason")


def add_sector_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sector-size", type=int, choices=(512, 4096), default=512,
        help="the disk's logical sectors, as its machine shows them (default: 512)",
    )  # fmt: skip


def grown(words: Sequence[str]) -> tuple[Grow, ...]:
    """`sda1=60%` and so on as wishes. UsageError for what cannot be meant."""
    from growdisk.partitions.shares import Percent, Rest
    from growdisk.planner.goal import Grow

    wishes = tuple(Grow(name, share_of(word, share)) for word in words for name, _, share in [word.partition("=")])
    if sum(wish.share.value for wish in wishes if isinstance(wish.share, Percent)) > 100:
        raise UsageError("the shares of --grow are more than 100 % together", hint=_HINT)
    if sum(isinstance(wish.share, Rest) for wish in wishes) > 1:
        raise UsageError("only one --grow can take the rest", hint=_HINT)
    return wishes


def share_of(word: str, text: str) -> Share:
    """`text` as a share; `word` is what it stands in. UsageError."""
    from growdisk.partitions.shares import Percent, Rest, Size
    from growdisk.units import parse_size

    if text == "rest":
        return Rest()
    if text.endswith("%"):
        try:
            value = float(text[:-1])
        except ValueError:
            value = 0.0
        if 0 < value <= 100:
            return Percent(value)
    elif text:
        size = parse_size(text)
        return Size(size.bytes, size.relative)
    raise UsageError(f"cannot read --grow {word}", hint=_HINT)
