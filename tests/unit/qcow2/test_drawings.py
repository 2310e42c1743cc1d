"""The drawings in the engine's comments say what its code does: each is carried out once."""

from __future__ import annotations

from array import array

from growdisk.qcow2.check.cluster_counts import ClusterCounts
from growdisk.qcow2.cluster_marks import DATA, HOLE, NOWHERE, FragmentedRun
from growdisk.qcow2.entries import COMPRESSED, COPIED, L2_RESERVED, OFFSET_MASK
from growdisk.qcow2.refblock import RefblockCodec
from growdisk.qcow2.tables import from_lanes, to_lanes

ONES = to_lanes(array("Q", [1]) * 3)


def test_a_fragmented_run_of_four_clusters() -> None:
    run = FragmentedRun(20 << 16, array("Q", [7, 8, 3, 0]), bytes([DATA, DATA, HOLE, NOWHERE]))
    assert list(run.stretches()) == [(DATA, 0, 2), (HOLE, 2, 3), (NOWHERE, 3, 4)]
    assert run.runs() == ([0, 2, 3], [2, 1, 1])


def test_three_entries_as_lanes_give_their_clusters() -> None:
    for clusters in ([7, 0, 3], [0xA, 0, 0xC]):
        entries = array("Q", [cluster and COPIED | cluster << 16 for cluster in clusters])
        whole = to_lanes(entries)
        bad = COMPRESSED | L2_RESERVED | OFFSET_MASK & 0xFFFF
        assert bad == 0x7F00_0000_0000_FFFE
        assert not whole & bad * ONES
        assert from_lanes((whole & OFFSET_MASK * ONES) >> 16, 3) == array("Q", clusters)


def test_counts_of_two_bits_in_two_bytes() -> None:
    codec, data = RefblockCodec(2), bytes([0b11100100, 0b00011011])
    block = codec.load(data)
    assert list(block) == [0, 1, 2, 3, 3, 2, 1, 0]
    assert 0x0300 | 0x0201 << 2 | 0x0102 << 4 | 3 << 6 == int.from_bytes(data, "little") == 0x1BE4
    assert codec.dump(block) == data


def test_a_segment_that_a_byte_cannot_hold_is_widened_alone() -> None:
    counts = ClusterCounts()
    counts.add(8191)
    counts.add(8192)
    counts.add(9000, 300)
    assert [counts[cluster] for cluster in (8191, 8192, 9000)] == [1, 1, 300]
    assert [type(counts.get(first, 1)) for first in (8191, 8192)] == [bytearray, array]
    assert counts.segments() == [(4096, 4096), (8192, 4096)]
