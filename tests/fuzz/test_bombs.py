"""Small files that would make a careless reader take all memory or all time there is."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from growdisk.api.images.checking import check_image
from growdisk.errors import GrowdiskError
from growdisk.qcow2.create import create
from tests.fuzz.limited import in_limited_child
from tests.fuzz.verbs import time_limit


@pytest.mark.parametrize("entries", (20_000, 150_000))
def test_tables_scattered_over_a_hole_of_2_to_the_55_bytes_are_counted_or_refused(
    memory_directory: Path, entries: int
) -> None:
    path = memory_directory / "bomb.qcow2"
    create(path, entries << 29)  # an L1 table of so many entries
    chance = random.Random(5)
    with path.open("r+b") as file:
        file.seek(36)
        l1_size, l1_offset = struct.unpack(">IQ", file.read(12))
        assert l1_size == entries
        file.seek(l1_offset)
        for _ in range(entries):
            file.write(struct.pack(">Q", chance.randrange(1 << 38) << 16 | 1 << 63))
        file.truncate(1 << 55)

    def action() -> list[str]:
        with time_limit(60.0):
            try:
                report = check_image(path)
            except GrowdiskError as error:
                return ["refused", str(error)]
            assert report is not None
            return ["counted", str(report.corruptions)]

    answer = in_limited_child(action, memory_directory / "answer")
    assert answer[0] == ("counted" if entries < 1 << 16 else "refused"), answer
