"""Damage to sound qcow2 images, as a repair must mend it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from growdisk.block.raw import RawFile
from growdisk.qcow2.header import Header, read_header

OFFSETS = 0x00FFFFFFFFFFFE00


def change(
    image: Path,
    damage: Callable[[RawFile, Header, random.Random], object],
    chance: random.Random | None = None,
) -> None:
    file = RawFile.open(image, writable=True)
    try:
        damage(file, read_header(file, image), chance or random.Random(0))
    finally:
        file.close()


def leak_a_cluster(file: RawFile, header: Header, chance: random.Random) -> None:
    file.resize(file.size + 5 * header.cluster_size)
    set_refcount(file, header, file.size // header.cluster_size - 3, 1)


def forget_a_refcount(file: RawFile, header: Header, chance: random.Random) -> None:
    set_refcount(file, header, first_l2_table(file, header) // header.cluster_size, 0)


def count_a_cluster_too_low_or_high(file: RawFile, header: Header, chance: random.Random) -> None:
    cluster = chance.randrange(file.size // header.cluster_size)
    set_refcount(file, header, cluster, chance.randrange(1 << min(header.refcount_bits, 8)))


def turn_flags(file: RawFile, header: Header, chance: random.Random) -> None:
    table = first_l2_table(file, header)
    for _ in range(5):
        turn_top_bit(file, table + 16 * chance.randrange(header.cluster_size // 16))
    turn_top_bit(file, header.l1_offset)


def empty_refcount_block(file: RawFile, header: Header, chance: random.Random) -> None:
    block = int.from_bytes(file.read(header.reftable_offset, 8), "big")
    file.write(block, bytes(min(header.cluster_size, file.size - block)))


def forget_a_refcount_block(file: RawFile, header: Header, chance: random.Random) -> None:
    file.write(header.reftable_offset, bytes(8))


def share_a_refcount_block(file: RawFile, header: Header, chance: random.Random) -> None:
    file.write(header.reftable_offset + 8, file.read(header.reftable_offset, 8))


DAMAGES: tuple[Callable[[RawFile, Header, random.Random], None], ...] = (
    leak_a_cluster, forget_a_refcount, count_a_cluster_too_low_or_high, turn_flags,
    empty_refcount_block, forget_a_refcount_block, share_a_refcount_block,
)  # fmt: skip


def set_refcount(file: RawFile, header: Header, cluster: int, value: int) -> None:
    per_block, bits = header.cluster_size * 8 // header.refcount_bits, header.refcount_bits
    block = int.from_bytes(file.read(header.reftable_offset + 8 * (cluster // per_block), 8), "big")
    index = cluster % per_block
    if not block:
        return
    if bits >= 8:
        file.write(block + index * bits // 8, value.to_bytes(bits // 8, "big"))
        return
    old = file.read(block + index * bits // 8, 1)[0]
    shift, mask = index * bits % 8, (1 << bits) - 1
    file.write(block + index * bits // 8, bytes([old & ~(mask << shift) | (value & mask) << shift]))


def turn_top_bit(file: RawFile, offset: int) -> None:
    entry = bytearray(file.read(offset, 8))
    if any(entry) and not entry[0] & 0x40:
        entry[0] ^= 0x80
        file.write(offset, entry)


def first_l2_table(file: RawFile, header: Header) -> int:
    return int.from_bytes(file.read(header.l1_offset, 8), "big") & OFFSETS


def forget_all_snapshots(image: Path) -> None:
    change(image, lambda file, header, chance: file.write(60, bytes(12)))
