"""Refcount blocks of every width, against the specification, one entry at a time."""

from __future__ import annotations

import random

import pytest

from growdisk.qcow2.check.stored_refcounts import table_problem, unpack_counts
from growdisk.qcow2.header import Header
from growdisk.qcow2.header_fields import refcount_table_problem
from growdisk.qcow2.refblock import RefblockCodec


def plain_get(block: bytes, index: int, order: int) -> int:
    bits = 1 << order
    if bits < 8:  # "entry 0 in the low bits of the byte"
        return block[index * bits // 8] >> index * bits % 8 & (1 << bits) - 1
    return int.from_bytes(block[index * bits // 8 : (index + 1) * bits // 8], "big")


@pytest.mark.parametrize("order", range(7))
def test_decoding_agrees_with_the_specification(order: int):
    chance = random.Random(order)
    block = bytes(chance.choice((0, 0, 1, 255, chance.randrange(256))) for _ in range(512))
    values = list(unpack_counts(block, order))
    expected = [plain_get(block, index, order) for index in range(512 * 8 >> order)]
    assert values + [0] * (len(expected) - len(values)) == expected


@pytest.mark.parametrize("order", range(7))
def test_encoding_is_the_inverse(order: int):
    chance, codec = random.Random(order), RefblockCodec(1 << order)
    small = bytes(chance.randrange(min(1 << (1 << order), 256)) for _ in range(512))
    assert bytes(unpack_counts(codec.pack(small) + b"\1" * 8, order)[:512]) == small
    if order > 3:
        large = [chance.randrange(1 << (1 << order)) for _ in range(512)]
        assert list(unpack_counts(codec.pack(large), order)) == large


def test_the_checker_and_the_writer_refuse_the_same_tables() -> None:
    """Each judges for itself where the refcount table may lie."""
    size, places = 1 << 30, (0, 512, 1 << 16, (1 << 30) - (1 << 16), 1 << 30, (1 << 63) - (1 << 16))
    for start in places:
        for clusters in (0, 1, 2, 128, 129):
            header = Header(3, 16, size, 0, 2, 1 << 17, start, clusters, 0, 0)
            theirs = refcount_table_problem(header, size)
            assert (table_problem(header, size) is None) == (theirs is None), (start, clusters)
