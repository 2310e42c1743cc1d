"""The same disk grown twice, by two programs: are they the same, apart from the time of day?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from tests.e2e.judges import image_format
from tests.guests.manifest import as_raw
from tests.guests.tools import data_ranges, run

_CHUNK = 1 << 16
_LONGEST = 8  # bytes: a time, or a checksum over one, and their neighbours
_MOST = 4096


def assert_same_disk(first: Path, second: Path) -> None:
    """Same size, table and guest bytes, except for times and checksums that e2fsprogs writes."""
    with as_raw(first, image_format(first)) as one, as_raw(second, image_format(second)) as other:
        assert one.stat().st_size == other.stat().st_size
        assert _table(one) == _table(other)
        differing = list(_differing(one, other))
    runs = [
        len(list(group))
        for _, group in groupby(enumerate(differing), key=lambda pair: pair[1] - pair[0])
    ]
    assert max(runs, default=0) <= _LONGEST, f"{first} and {second} differ at {differing[:20]}"
    assert len(differing) <= _MOST, f"{first} and {second} differ in {len(differing)} bytes"


def _table(raw: Path) -> str:
    return run("sfdisk", "-d", raw).replace(str(raw), "disk") if _has_table(raw) else ""


def _has_table(raw: Path) -> bool:
    with raw.open("rb") as file:
        return file.read(512)[510:] == b"\x55\xaa"


def _differing(one: Path, other: Path) -> Iterator[int]:
    """Offsets of bytes that differ."""
    with one.open("rb") as first, other.open("rb") as second:
        # where neither has data, both are zeros
        for offset in sorted({*_with_data(first), *_with_data(second)}):
            chunk, against = (os.pread(file.fileno(), _CHUNK, offset) for file in (first, second))
            if chunk != against:
                pairs = zip(chunk, against, strict=True)
                yield from (
                    offset + place for place, (left, right) in enumerate(pairs) if left != right
                )


def _with_data(file: BinaryIO) -> Iterator[int]:
    """The chunks in which it has any."""
    for start, end in data_ranges(file.fileno()):
        yield from range(start - start % _CHUNK, end, _CHUNK)
