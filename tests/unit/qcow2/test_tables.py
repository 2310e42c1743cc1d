"""The small parts: refcount blocks of all widths, entries, runs, the table cache."""

from __future__ import annotations

import random
from array import array

import pytest

from growdisk.qcow2.entries import COMPRESSED, COPIED, CompressedRange
from growdisk.qcow2.header_fields import Geometry
from growdisk.qcow2.l1_walk import RunSplitter
from growdisk.qcow2.refblock import (
    RefblockCodec,
    RefcountRange,
    add_to_run,
    equal_run,
    last_used,
    zero_runs,
)
from growdisk.qcow2.tables import (
    TableCache,
    dump_table,
    from_lanes,
    load_table,
    progression,
    to_lanes,
)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 32, 64])
def test_a_refcount_block_of_any_width_survives_packing(bits: int) -> None:
    data = random.Random(bits).randbytes(512)
    codec = RefblockCodec(bits)
    block = codec.load(data)
    assert len(block) == 512 * 8 // bits
    assert codec.dump(block) == data


def test_narrow_counts_start_in_the_low_bits_and_wide_ones_are_big_endian() -> None:
    assert RefblockCodec(1).load(b"\x05")[:4].tolist() == [1, 0, 1, 0]
    assert RefblockCodec(4).load(b"\x21").tolist() == [1, 2]
    assert RefblockCodec(16).load(b"\x01\x02").tolist() == [0x102]


def test_adding_to_a_run_is_all_or_nothing() -> None:
    block = array("H", [1, 2, 3, 0, 65535])
    add_to_run(block, 0, 3, 1, 65535)
    assert block.tolist() == [2, 3, 4, 0, 65535]
    for first, count, delta in ((0, 4, -1), (2, 3, 1), (3, 1, -1)):
        with pytest.raises(RefcountRange):
            add_to_run(block, first, count, delta, 65535)
    assert block.tolist() == [2, 3, 4, 0, 65535]
    assert equal_run(block, 3, 1, 0)
    assert not equal_run(block, 0, 2, 2)


@pytest.mark.parametrize("typecode", ["B", "H", "Q"])
def test_free_runs_are_found_also_where_zero_bytes_lie_across_entries(typecode: str) -> None:
    values = [0, 0, 1, 0, 255, 1, 0] if typecode == "B" else [0, 0, 256, 0, 255, 256, 1, 0]
    block = array(typecode, values)
    wanted, start = [], None
    for index, value in enumerate([*values, 1]):
        if value == 0 and start is None:
            start = index
        if value and start is not None:
            wanted.append((start, index))
            start = None
    assert list(zero_runs(block, 0, len(block))) == wanted
    assert last_used(array(typecode, [0, 3, 0])) == 1
    assert last_used(array(typecode, [0, 0])) == -1


def test_a_compressed_range_may_cross_into_the_next_cluster() -> None:
    data = CompressedRange.of(COMPRESSED | 1 << 54 | (0x5FF00), 16)  # two sectors
    assert (data.offset, data.length) == (0x5FF00, 1024 - 0x100)
    assert list(data.clusters(16)) == [5, 6]


def test_runs_in_an_l2_table_are_the_same_as_those_found_entry_by_entry() -> None:
    geometry, rng = Geometry(12, 4), random.Random(7)
    splitter = RunSplitter(geometry)
    for density in (0.0, 0.2, 0.9, 1.0):
        table = array("Q", bytes(4096))
        host = 5
        for index in range(512):
            host += 1 if rng.random() < density else rng.randrange(2, 9)
            kinds = [host << 12 | COPIED] * 8 + [host << 12, 0, 1, COMPRESSED | host << 12]
            table[index] = rng.choice(kinds) if density < 1 else host << 12
        found = [entry for start, end in splitter.runs(table) for entry in range(start, end)]
        assert found == [index for index, entry in enumerate(table) if entry not in (0, 1)]
        for start, end in splitter.runs(table):
            assert table[start:end] == progression(table[start], end - start, 4096)


@pytest.mark.parametrize("index", [0, 100, 510, 511])
@pytest.mark.parametrize("top", [0x1, 0x3, 0x5, 0x7, 0xF])
def test_an_entry_with_any_top_bits_ends_a_run_and_spoils_no_other(index: int, top: int) -> None:
    """Four bits of a damaged entry were carried into the next one, or out of the table."""
    table = progression(5 << 12, 512, 1 << 12)
    table[index] = top << 60 | (1 << 60) - 1 & ~1
    found = list(RunSplitter(Geometry(12, 4)).runs(table))
    assert found == [
        (start, end)
        for start, end in ((0, index), (index, index + 1), (index + 1, 512))
        if start < end
    ]


def test_the_first_entry_is_the_lowest_lane() -> None:
    table = array("Q", [1, 2 << 60, (1 << 64) - 1])
    lanes = sum(entry << 64 * place for place, entry in enumerate(table))
    assert to_lanes(table) == lanes
    assert from_lanes(lanes, 3) == table


def test_the_cache_writes_a_changed_table_before_it_forgets_it() -> None:
    disk = {key: bytes(8) for key in range(10)}
    cache: TableCache

    def spill(key: int) -> None:
        disk[key] = dump_table(cache.get(key))
        cache.cleaned(key)

    cache = TableCache(lambda key: load_table(disk[key]), spill, max_bytes=3 * 8)
    table = cache.get(4)
    table[0] = 99
    cache.changed(4, table)
    for key in (1, 2, 3):
        cache.get(key)
    assert disk[4] == dump_table(array("Q", [99]))
    assert cache.get(4).tolist() == [99]
    assert not cache.is_dirty


@pytest.mark.parametrize("count", [1, 64, 65, 100, 128, 8192])
def test_a_progression_of_any_length_is_that_of_its_numbers(count: int) -> None:
    first, step = 1 << 63 | 7 << 16, 1 << 16
    assert progression(first, count, step).tolist() == [
        first + step * place for place in range(count)
    ]


@pytest.mark.parametrize("typecode", ["B", "H", "I", "Q"])
def test_the_last_used_entry_is_found_wherever_it_stands(typecode: str) -> None:
    for length in (1, 100, 1000, 4096):
        for place in {0, 1, length // 2, length // 2 - 1, length - 1} - {-1}:
            if place < length:
                block = array(typecode, [0]) * length
                block[place] = 1
                assert last_used(block) == place
        assert last_used(array(typecode, [0]) * length) == -1
