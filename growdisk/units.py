"""Sizes, alignment and half-open byte ranges.

A bare number and `10GB` are refused on purpose: the tools of this field disagree on what they mean.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator

from growdisk.errors import BadSize
from growdisk.fast_dataclass import dataclass

KiB = 1 << 10
MiB = 1 << 20
GiB = 1 << 30
TiB = 1 << 40

SUFFIXES = "bkMGTPE"
_SIZE = r"(?P<sign>[+-]?)(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?P<suffix>[A-Za-z]*)"
MAX_SIZE = (1 << 63) - 1
_NO_GROWTH = r"\+0+(b|B|[kKMGTPE](iB)?)?"
_MAX_DIGITS = 100


@dataclass(frozen=True)
class SizeSpec:
    """A size as the user wrote it: `+10G` grows by (relative), `40G` grows to."""

    bytes: int
    relative: bool

    def resolve(self, current: int) -> int:
        """The wanted size in bytes of something that is `current` bytes large."""
        return current + self.bytes if self.relative else self.bytes

    def __str__(self) -> str:
        """To be written again: `+10G`."""
        # The largest unit without a remainder; 0 has none in any unit.
        powers = reversed(range(len(SUFFIXES))) if self.bytes else (0,)
        power = next(power for power in powers if self.bytes % (1 << 10 * power) == 0)
        return f"{'+' if self.relative else ''}{self.bytes >> 10 * power}{SUFFIXES[power]}"


@dataclass(frozen=True, order=True)
class ByteRange:
    """Half-open range of bytes [start, end)."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"not a range: [{self.start}, {self.end})")

    @property
    def length(self) -> int:
        return self.end - self.start

    def overlaps(self, other: ByteRange) -> bool:
        return self.start < other.end and other.start < self.end

    def contains(self, other: ByteRange) -> bool:
        return self.start <= other.start and other.end <= self.end


def align_down(value: int, unit: int) -> int:
    return value - value % unit


def align_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def joined(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Ranges in order; those that touch or overlap are one, and empty ones go."""
    # [first, last) is what has been joined and may still grow.
    first = last = 0
    for start, end in ranges:
        if start > last:
            if first < last:
                yield first, last
            first = start
        last = max(last, end)
    if first < last:
        yield first, last


def split_range(start: int, end: int, unit: int) -> Iterator[tuple[int, int]]:
    """[start, end) cut at the multiples of `unit`, as (start, end) pairs."""
    while start < end:
        stop = min(align_down(start, unit) + unit, end)
        yield start, stop
        start = stop


def parse_size(text: str) -> SizeSpec:
    """`+10G`, `40G`, `1.5T`, `10GiB`, `512b` as a SizeSpec; BadSize for everything else."""
    match = re.fullmatch(_SIZE, text.strip())
    if match is None:
        raise BadSize(text, reason="it is not a number with a unit")
    if match["sign"] == "-":
        raise BadSize(text, reason="growdisk grows disks; it never shrinks one")
    whole, _, fraction = match["number"].partition(".")
    if len(whole) + len(fraction) > _MAX_DIGITS:
        raise BadSize(text, reason="it has more digits than a size can have")
    multiplier = _multiplier(text, match["number"], match["suffix"])
    # 1.5T is 15 * 1024**4 / 10: whole numbers only, a float would round beyond 8 PiB.
    amount, rest = divmod(int(whole + fraction) * multiplier, 10 ** len(fraction))
    # 0.3b, or 1.0001k.
    if rest:
        raise BadSize(text, reason="it is not a whole number of bytes")
    if not 0 < amount <= MAX_SIZE:
        raise BadSize(text, reason="it is zero, or more than 8 EiB")
    return SizeSpec(amount, relative=match["sign"] == "+")


def parse_goal_size(text: str) -> SizeSpec:
    """The same for what a disk is to become, which may be what it is: `+0`, `+0G`."""
    if re.fullmatch(_NO_GROWTH, text.strip()):
        return SizeSpec(0, relative=True)
    return parse_size(text)


def _multiplier(text: str, number: str, suffix: str) -> int:
    if suffix == "":
        raise BadSize(
            text,
            reason="a bare number means bytes to some tools and MiB to others",
            hint=_unit_hint(number),
        )
    if re.fullmatch(r"[kKMGTPE]B", suffix):
        raise BadSize(
            text,
            reason=f"{suffix} means powers of 1000 to some tools and of 1024 to others",
            hint=f"write {number}{suffix[0]} or {number}{suffix[0]}iB for powers of 1024",
        )
    unit = re.fullmatch(r"([kKMGTPEmgtpe])(?:iB)?|([bB])", suffix)
    if unit is None:
        raise BadSize(text, reason=f"'{suffix}' is not a unit")
    # As in SUFFIXES, where the place of a letter is its power of 1024: only b and k are small.
    letter = (unit[1] or "b").upper().replace("K", "k").replace("B", "b")
    return int(1024 ** SUFFIXES.index(letter))


def _unit_hint(number: str) -> str:
    """A large number is meant in bytes, a small one in GiB or MiB."""
    if not number.isdigit() or not KiB <= int(number) <= MAX_SIZE:
        return f"write the unit: {number}G for GiB, {number}M for MiB, {number}b for bytes"
    shorter = str(SizeSpec(int(number), relative=False))
    return f"write {number}b for bytes" + (
        f", that is {shorter}" if shorter != f"{number}b" else ""
    )


def whole_percent(share: float) -> int:
    """0.846 as 85: the next whole number up, as df has it.

    So 85 is never shown of what is fuller than 85 %.
    """
    # round() first: 100 * 0.07 is 7.000000000000001, which would become 8.
    return math.ceil(round(100 * share, 6))


def format_size(size: int) -> str:
    """`13.0 GiB`, `512 B`: for people, three significant digits or so."""
    value, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        # As it will be shown: 1023.97 KiB is 1.0 MiB, not 1024.0 KiB.
        if round(abs(value), 1) < 1024 or unit == "EiB":
            break
        value /= 1024
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"


class Bytes(int):
    """A size as a fact of an error: a number for programs, `13.0 GiB` in a sentence."""

    def __str__(self) -> str:
        return format_size(int(self))

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


def format_change(old: int, new: int) -> str:
    """`3.0 GiB -> 13.0 GiB`, with the difference if the two look alike.

    `8.0 TiB -> 8.0 TiB (+10.0 GiB)`.
    """
    words = f"{format_size(old)} -> {format_size(new)}"
    if old == new or format_size(old) != format_size(new):
        return words
    return f"{words} ({'+' if new > old else '-'}{format_size(abs(new - old))})"
