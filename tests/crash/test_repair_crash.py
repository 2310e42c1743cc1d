"""A repair that dies is finished by the next one, and never makes readable data unreadable."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from growdisk.qcow2.check.checker import check
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.repair import repair
from tests.crash.recording import RecordingFile
from tests.crash.sparse import SparseBytes
from tests.crash.states import crash_states
from tests.crash.worlds import TWO_SNAPSHOTS, Scenario, Shape, World, take
from tests.oracle.qemu import qemu_check

SHAPES = (Shape(2, 9), Shape(3, 9, 6), Shape(3, 12, 2), Shape(3, 16, 4))
DAMAGES = ("wrong counts", "an empty block", "no block", "wrong flags")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_repair_that_dies_is_finished_by_the_next(tmp_path: Path, shape: Shape, damage: str):
    world = World(tmp_path, shape, Scenario("damaged", TWO_SNAPSHOTS, take("unused")))
    content = world.start.copy()
    guest = read_guest(content, world.path)
    harm(content, world.path, damage)
    assert not check(RecordingFile(content.copy()), world.path).is_clean

    recording = RecordingFile(content.copy())
    assert repair(recording, world.path, errors=True).is_clean
    for state in crash_states(recording, seed=7, per_window=4):
        assert read_guest(state.content, world.path) == guest, state.note
        file = state.open()
        assert repair(file, world.path, errors=True).is_clean, state.note
        assert read_guest(file.content, world.path) == guest, state.note
    recording.content.save(world.path)
    assert qemu_check(world.path)[0] == 0


def read_guest(content: SparseBytes, path: Path) -> bytes:
    """As a reader sees it, who ignores the dirty bit and all refcounts."""
    image = Qcow2Image.over(RecordingFile(content.copy()), path, writable=False)
    data = image.read(0, image.size)
    image.close()
    return data


def harm(content: SparseBytes, path: Path, damage: str) -> None:
    image = Qcow2Image.over(RecordingFile(content), path, writable=False)
    header, chance = image.header, random.Random(path.name)
    image.close()
    block = int.from_bytes(content.read(header.reftable_offset, 8), "big")
    if damage == "wrong counts":
        used = min(
            content.size // header.cluster_size * header.refcount_bits // 8, header.cluster_size
        )
        for _ in range(10):
            content.write(block + chance.randrange(used), chance.randbytes(1))
    elif damage == "an empty block":
        content.write(block, bytes(header.cluster_size))
    elif damage == "no block":
        content.write(header.reftable_offset, bytes(8))
    else:
        table = int.from_bytes(content.read(header.l1_offset, 8), "big") & 0x00FFFFFFFFFFFE00
        for offset in (header.l1_offset, *range(table, table + 160, 8)):
            if any(entry := bytearray(content.read(offset, 8))):
                entry[0] ^= 0x80
                content.write(offset, bytes(entry))
