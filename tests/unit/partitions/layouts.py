"""Random MBR layouts written byte by byte, with odd starts and narrow gaps.

sfdisk would not make these, but reads them.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from pathlib import Path

from tests.unit.partitions.disks import write_at

Entry = tuple[bool, int, int, int]  # bootable, type, first sector, count


@dataclass(frozen=True)
class Logical:
    record: int  # sector of its EBR
    type: int
    start: int
    count: int


def write_random_mbr(path: Path, size: int, dice: random.Random, most_logicals: int = 4) -> None:
    """Write a disk of `size` bytes (at least 300 MiB) with one to four primary partitions.

    One may be extended. With more than four logical partitions it has to be larger: 30 MiB for
    each.
    """
    with path.open("wb") as file:
        file.truncate(size)
    extended_slot = dice.randint(1, 6)
    cursor, entries = dice.choice((63, 2048, 4096)), []
    for slot in range(dice.randint(1, 4)):
        if slot == extended_slot:
            end, logicals = _logicals(cursor, dice, most_logicals)
            _write_chain(path, cursor, logicals)
            entries.append((False, dice.choice((0x05, 0x0F, 0x85)), cursor, end - cursor))
        else:
            end = cursor + dice.randrange(40_000, 80_000)
            entries.append(
                (
                    dice.random() < 0.3,
                    dice.choice((0x83, 0x07, 0x82, 0x0C, 0xDE)),
                    cursor,
                    end - cursor,
                )
            )
        cursor = end + dice.choice((0, 1, 2048, 30_000))
    # The slots need not be in the order of the disk.
    slots: list[Entry] = [*entries, *[(False, 0, 0, 0)] * (4 - len(entries))]
    dice.shuffle(slots)
    write_at(path, 440, struct.pack("<I", dice.randrange(1 << 32)))
    write_at(path, 446, b"".join(_packed(*slot) for slot in slots) + b"\x55\xaa")


def _logicals(start: int, dice: random.Random, most: int) -> tuple[int, list[Logical]]:
    """(the end of an extended partition at `start`, what is in it); its first EBR is at `start`."""
    cursor, logicals = start, []
    for _ in range(dice.randint(0, most)):
        record = cursor
        cursor = record + dice.choice((1, 2, 63, 2048))
        count = dice.randrange(20_000, 60_000)
        logicals.append(Logical(record, dice.choice((0x82, 0x83, 0x8E)), cursor, count))
        cursor += count + dice.choice((0, 0, 7, 2048))
    return max(cursor, start + 2048) + dice.choice((0, 1, 5000)), logicals


def _write_chain(path: Path, extended: int, logicals: list[Logical]) -> None:
    if not logicals:
        write_at(path, extended * 512 + 510, b"\x55\xaa")
    for logical, following in zip(logicals, [*logicals[1:], None], strict=False):
        entries = _packed(False, logical.type, logical.start - logical.record, logical.count)
        if following is not None:
            length = following.start + following.count - following.record
            entries += _packed(False, 0x05, following.record - extended, length)
        write_at(path, logical.record * 512 + 446, entries.ljust(64, b"\0") + b"\x55\xaa")


def _packed(bootable: bool, kind: int, first: int, count: int) -> bytes:
    return struct.pack("<B3xB3xII", 0x80 if bootable else 0, kind, first, count)
