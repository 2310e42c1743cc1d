"""A bitmap that is in force after a crash never misses a write: copies by it would lose data."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.qcow2.bitmap_copy import BitmapSource
from growdisk.qcow2.bitmaps import read_directory
from growdisk.qcow2.header import read_header
from tests.crash.judge import content_of
from tests.crash.recording import RecordingFile
from tests.crash.states import crash_states
from tests.crash.worlds import BESIDE_BITMAPS, Scenario, Shape, World

SECTOR = 512


def clean_sectors(file: RecordingFile, path: Path) -> list[int] | None:
    """The sectors that the tracking bitmap calls unchanged; None where it is not in force."""
    header = read_header(file, path)
    directory = read_directory(file, header)
    if directory is None or not directory.bitmaps[0].is_tracking:
        return None
    chunks = BitmapSource(file, header, directory).chunks(directory.bitmaps[0], header.cluster_size)
    ones = b"\xff" * header.cluster_size, bytes(header.cluster_size)
    bits = b"".join(chunk if isinstance(chunk, bytes) else ones[not chunk] for chunk in chunks)
    return [sector for sector in range(len(bits) * 8) if not bits[sector >> 3] >> (sector & 7) & 1]


@pytest.mark.parametrize("shape", (Shape(3, 16), Shape(3, 9)), ids=str)
@pytest.mark.parametrize("scenario", BESIDE_BITMAPS, ids=str)
def test_what_is_called_unchanged_is_unchanged(
    tmp_path: Path, shape: Shape, scenario: Scenario
) -> None:
    world = World(tmp_path, shape, scenario)
    recording, _ = world.act()
    before = content_of(world.open(RecordingFile(world.start.copy()))).data
    in_force = 0
    for state in crash_states(recording, seed=1, per_window=6):
        clean = clean_sectors(state.open(), world.path)
        if clean is None:
            continue
        in_force += 1
        after = content_of(world.open(state.open())).data
        for sector in clean:
            start = sector * SECTOR
            if start + SECTOR <= min(len(before), len(after)):
                assert after[start : start + SECTOR] == before[start : start + SECTOR], (
                    state.note,
                    sector,
                )
    assert in_force
    assert clean_sectors(RecordingFile(recording.content.copy()), world.path) is not None
