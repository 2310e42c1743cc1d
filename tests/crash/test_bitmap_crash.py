"""A bitmap that is in force after a crash never misses a write: copies by it would lose data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.qcow2.bitmap_copy import BitmapSource
from growdisk.qcow2.bitmaps import read_directory
from growdisk.qcow2.header import read_header
from growdisk.workflow.journal import RunStatus
from tests.crash.dying import run_dying
from tests.crash.judge import content_of
from tests.crash.recording import RecordingFile
from tests.crash.run_worlds import World as RunWorld
from tests.crash.run_worlds import grown_copy, make_world
from tests.crash.states import crash_states
from tests.crash.whole_disks import assert_same
from tests.crash.worlds import BESIDE_BITMAPS, Scenario, Shape, World
from tests.oracle.qemu import qemu_img

SECTOR = 512


def clean_sectors(file: RecordingFile | RawFile, path: Path) -> list[int] | None:
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


# --- whole runs -----------------------------------------------------------------------------------


def run_beside_bitmaps(tmp_path: Path) -> RunWorld:
    """One notes writes, one is switched off; both know of what was written before the run."""
    world = make_world(tmp_path, "internal")
    for name in ("on", "off"):
        qemu_img("bitmap", "--add", "-g", "512", world.pristine, name)
    qemu_img("bitmap", "--disable", world.pristine, "off")
    world.pristine_of(world.image).write_bytes(world.pristine.read_bytes())
    return world


def contents(image: Path, folder: Path) -> bytes:
    raw = folder / "content.raw"
    qemu_img("convert", "-O", "raw", image, raw)
    return raw.read_bytes()


def changed_behind(image: Path, before: bytes, folder: Path) -> Iterator[int] | None:
    """Sectors that differ though the bitmap calls them unchanged; None where it knows nothing."""
    with closing(RawFile.open(image)) as file:
        clean = clean_sectors(file, image)
    if clean is None:
        return None
    after = contents(image, folder)
    length = min(len(before), len(after))
    return (
        sector
        for sector in clean
        if (start := sector * SECTOR) + SECTOR <= length
        and after[start : start + SECTOR] != before[start : start + SECTOR]
    )


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_a_run_that_is_killed_leaves_bitmaps_that_miss_nothing(tmp_path: Path, twice: bool) -> None:
    """Killed at any change of a file; the way on, or back, is killed as well if `twice`."""
    world = run_beside_bitmaps(tmp_path)
    grown, before = grown_copy(world, tmp_path), contents(world.pristine, tmp_path)
    deaths = 0
    for change in range(0, 2000, 7 if twice else 3):
        world.reset()
        if not run_dying(world.begin, change):
            break
        if world.state().status is RunStatus.NONE:
            continue
        deaths += 1
        onward = bool(change % 2) or world.state().committing
        finish = world.go_on if onward else world.go_back
        if twice:
            run_dying(finish, change % 40)
        if not world.state().finished:
            finish()
        assert_same(world.image, (grown if onward else world.pristine_of)(world.image))
        missed = changed_behind(world.image, before, tmp_path)
        assert list(missed or ()) == [], (change, onward)
    assert deaths > 9
    missed = changed_behind(world.image, before, tmp_path)  # after the run that was not killed
    assert missed is not None
    assert list(missed) == []
