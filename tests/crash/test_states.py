"""The crash states themselves: what may survive, and what never does."""

from __future__ import annotations

from tests.crash.recording import RecordingFile
from tests.crash.sparse import SparseBytes
from tests.crash.states import crash_states, durable_content

SECTOR = 512


def contents(file: RecordingFile) -> set[bytes]:
    return {state.content.read(0, state.content.size) for state in crash_states(file, seed=1)}


def test_what_was_flushed_is_in_every_later_state_and_the_rest_in_any_part():
    file = RecordingFile(SparseBytes(3 * SECTOR))
    file.write(0, b"a" * SECTOR)
    file.flush()
    file.write(SECTOR, b"b" * SECTOR)
    file.write(2 * SECTOR, b"c" * SECTOR)
    shapes = {content[::SECTOR] for content in contents(file)}
    assert shapes == {b"\0\0\0", b"a\0\0", b"ab\0", b"a\0c", b"abc"}


def test_a_write_is_torn_at_sectors_and_never_inside_one():
    file = RecordingFile(SparseBytes(8 * SECTOR))
    file.write(0, b"x" * 8 * SECTOR)
    sectors = {
        content[i * SECTOR : (i + 1) * SECTOR] for content in contents(file) for i in range(8)
    }
    assert sectors == {bytes(SECTOR), b"x" * SECTOR}
    assert len(contents(file)) > 2


def test_a_later_write_to_a_sector_brings_the_earlier_ones_with_it():
    file = RecordingFile(SparseBytes(SECTOR))
    for place in range(4):
        file.write(8 * place, b"12345678")
    lengths = {len(content.rstrip(b"\0")) for content in contents(file)}
    assert lengths == {0, 8, 16, 24, 32}
    assert all(b"\0" not in content.rstrip(b"\0") for content in contents(file))


def test_a_lost_resize_leaves_the_file_short_and_a_later_write_makes_it_long():
    file = RecordingFile(SparseBytes(SECTOR))
    file.resize(4 * SECTOR)
    file.write(2 * SECTOR, b"x" * SECTOR)
    sizes = {len(content) // SECTOR for content in contents(file)}
    assert sizes == {1, 3, 4}


def test_only_what_was_flushed_is_durable():
    file = RecordingFile(SparseBytes(SECTOR))
    file.write(0, b"a")
    file.flush()
    file.write(0, b"b")
    assert durable_content(file, len(file.log)).read(0, 1) == b"a"
    file.flush()
    assert durable_content(file, len(file.log)).read(0, 1) == b"b"


def test_the_same_seed_makes_the_same_states():
    file = RecordingFile(SparseBytes(64 * SECTOR))
    for place in range(20):
        file.write(place * 3 * SECTOR, bytes([place + 1]) * 2 * SECTOR)
    first, second = (
        [(state.note, state.content.pages) for state in crash_states(file, seed=4, per_window=5)]
        for _ in range(2)
    )
    assert first == second
