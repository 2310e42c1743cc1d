"""Images with a few wrong numbers: the fields of all structures are given hostile values.

The values are the borders of what the format allows, and offsets of *other* structures of the same
image: a table that is also a refcount block is the lie that code believes most easily.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from growdisk.qcow2.entries import OFFSET_MASK
from growdisk.qcow2.header import Extension, Header
from tests.fuzz.seeds import Seed

_HUGE = (1 << 20, 1 << 30, 1 << 40, 1 << 55)  # sizes to which a file may grow by a hole


@dataclass(frozen=True)
class Field:
    """A big-endian number of `width` bytes in the file."""

    name: str
    offset: int
    width: int


@dataclass(frozen=True)
class Mutant:
    """`patches`: (offset, bytes); `length`: of the file, None for the seed's.

    Both as little as says it all.
    """

    name: str
    patches: tuple[tuple[int, bytes], ...]
    length: int | None = None

    def write(self, path: Path, seed: Seed) -> None:
        with path.open("wb") as file:
            file.write(seed.image)
            for offset, data in self.patches:
                file.seek(offset)
                file.write(data)
            if self.length is not None:
                file.truncate(self.length)


def mutants(seed: Seed, count: int, number: int = 0) -> Iterator[Mutant]:
    """The first `count` mutants of a seed in the random order `number`: one, two, three lies."""
    chance = random.Random(f"{seed.name} {number}")
    fields = list(fields_of(seed))
    places = structure_offsets(seed)
    for turn in range(count):
        lies = chance.choice((1, 1, 1, 2, 3))
        chosen = [_lie(seed, chance.choice(fields), places, chance) for _ in range(lies)]
        patches = tuple(
            (field.offset, value.to_bytes(field.width, "big")) for field, value in chosen
        )
        name = ", ".join(f"{field.name}={value:#x}" for field, value in chosen)
        length = _length(seed, places, chance) if chance.random() < 0.2 else None
        if chance.random() < 0.1:
            patches, name = _noise(seed, chance), "noise"
        yield Mutant(f"{seed.name}/{number}.{turn}: {name}, length {length}", patches, length)


def uncounted(seed: Seed) -> Iterator[Mutant]:
    """One mutant for each cluster of the file that is counted: as if it were free."""
    header = _header(seed)
    blocks = [
        entry for _, entry in _entries(seed, header.reftable_offset, header.reftable_clusters * 8)
    ]
    bits, clusters = header.refcount_bits, -(-len(seed.image) // header.cluster_size)
    for cluster in range(min(clusters, header.geometry.refblock_entries)):
        first, bit = divmod(cluster * bits, 8)
        place, width = blocks[0] + first, max(bits // 8, 1)
        value = int.from_bytes(seed.image[place : place + width], "big")
        without = value & ~(header.geometry.refcount_max << bit)
        if without != value:
            yield Mutant(
                f"{seed.name}: cluster {cluster:#x} uncounted",
                ((place, without.to_bytes(width, "big")),),
            )


def _lie(seed: Seed, field: Field, places: list[int], chance: random.Random) -> tuple[Field, int]:
    bits = 8 * field.width
    old = int.from_bytes(seed.image[field.offset : field.offset + field.width], "big")
    cluster = 1 << _header(seed).cluster_bits
    borders = [
        0, 1, 2, old + 1, old - 1, old ^ 1 << chance.randrange(bits), 2 * old, cluster,
        cluster - 1, 0x1FF, 0x200,
    ]  # fmt: skip
    borders += [
        (1 << bits) - 1,
        1 << bits - 1,
        (1 << bits - 1) - 1,
        1 << chance.randrange(bits),
        len(seed.image),
    ]
    flags = old & ~OFFSET_MASK if field.width == 8 else 0
    borders += [
        chance.choice(places) | flags,
        chance.choice(places),
        chance.choice(_HUGE),
        chance.getrandbits(bits),
    ]
    return field, chance.choice(borders) & (1 << bits) - 1


def _length(seed: Seed, places: list[int], chance: random.Random) -> int:
    """Cut at a structure or anywhere, or made longer by a hole."""
    cut = chance.choice(
        (chance.choice(places), chance.randrange(len(seed.image)), len(seed.image) - 1)
    )
    return chance.choice((cut, cut, chance.choice(_HUGE) + len(seed.image)))


def _noise(seed: Seed, chance: random.Random) -> tuple[tuple[int, bytes], ...]:
    return tuple(
        (chance.randrange(len(seed.image) - 8), chance.randbytes(chance.choice((1, 2, 8))))
        for _ in range(20)
    )


# --- where the structures are ---------------------------------------------------------------------


def structure_offsets(seed: Seed) -> list[int]:
    """Where tables begin, in the file."""
    header = _header(seed)
    places = [0, header.l1_offset, header.reftable_offset, header.snapshots_offset]
    places += [entry & OFFSET_MASK for _, entry in _entries(seed, header.l1_offset, header.l1_size)]
    places += [entry for _, entry in _entries(seed, header.reftable_offset, 8)]
    return sorted(set(places))


def fields_of(seed: Seed) -> Iterator[Field]:
    header = _header(seed)
    yield from _header_fields(header)
    yield from _extension_fields(seed, header)
    yield from _table_fields("L1", header.l1_offset, header.l1_size)
    for offset, entry in _entries(seed, header.l1_offset, header.l1_size):
        yield from _used_fields(
            seed, f"L2 of {offset:#x}", entry & OFFSET_MASK, header.cluster_size
        )
    yield from _table_fields("refcount table", header.reftable_offset, 3)
    for _, entry in _entries(seed, header.reftable_offset, 2):
        yield from (Field(f"refcount {i}", entry + 2 * i, 2) for i in range(40))
    yield from _snapshot_fields(seed, header)
    yield from _compressed_fields(seed, header)


def _header_fields(header: Header) -> Iterator[Field]:
    names = (
        "version:4 backing_offset:8 backing_length:4 cluster_bits:4 size:8 crypt:4 l1_size:4 "
        "l1_offset:8 "
    )
    names += "reftable_offset:8 reftable_clusters:4 snapshots:4 snapshots_offset:8"
    if header.version >= 3:
        names += (
            " incompatible:8 compatible:8 autoclear:8 refcount_order:4 header_length:4 "
            "compression:1"
        )
    offset = 4
    for word in names.split():
        name, _, width = word.partition(":")
        yield Field(name, offset, int(width))
        offset += int(width)


def _extension_fields(seed: Seed, header: Header) -> Iterator[Field]:
    """Types, lengths and all numbers of the extensions; then what those tell of."""
    offset = header.header_length
    for extension in header.extensions:
        kind = f"extension {extension.type:#x}"
        yield Field(f"{kind} type", offset, 4)
        yield Field(f"{kind} length", offset + 4, 4)
        step = 24 if extension.type == Extension.FEATURE_NAMES else 4
        for inside in range(0, len(extension.data) - 3, step):
            yield Field(f"{kind} at {inside}", offset + 8 + inside, 4)
            yield Field(f"{kind} byte {inside}", offset + 8 + inside, 1)
        if extension.type == Extension.BITMAPS:
            yield from _bitmap_fields(seed, extension.data)
        elif extension.type == Extension.CRYPTO:
            yield from _luks_fields(extension.data)
        offset += 8 + -(-len(extension.data) // 8) * 8


def _bitmap_fields(seed: Seed, data: bytes) -> Iterator[Field]:
    count, _, _, directory = struct.unpack(">IIQQ", data)
    for _ in range(count):
        widths = (("table", 8), ("table size", 4), ("flags", 4), ("type", 1), ("granularity", 1),
            ("name size", 2),
                  ("extra size", 4))  # fmt: skip
        table, offset = int.from_bytes(seed.image[directory : directory + 8], "big"), directory
        for name, width in widths:
            yield Field(f"bitmap {name}", offset, width)
            offset += width
        yield Field("bitmap table entry", table, 8)
        directory += (
            (24 + int.from_bytes(seed.image[directory + 18 : directory + 20], "big") + 7) // 8 * 8
        )


def _luks_fields(data: bytes) -> Iterator[Field]:
    offset, _ = struct.unpack(">QQ", data)
    places = {
        "magic": 0,
        "version": 6,
        "cipher": 8,
        "mode": 40,
        "hash": 72,
        "payload": 104,
        "key length": 108,
    }
    places |= {"iterations": 164, "uuid": 168, "digest": 112}
    places |= {f"slot {i} {name}": 208 + 48 * i + at for i in range(8) for name, at in _SLOT}
    yield from (Field(f"luks {name}", offset + at, 4) for name, at in places.items())


_SLOT = (("state", 0), ("iterations", 4), ("offset", 40), ("stripes", 44))


def _snapshot_fields(seed: Seed, header: Header) -> Iterator[Field]:
    offset = header.snapshots_offset
    for number in range(header.snapshot_count):
        l1_offset, l1_size, ids, names, *_, extra = struct.unpack_from(
            ">QIHHIIQII", seed.image, offset
        )
        widths = (8, 4, 2, 2, 4, 4, 8, 4, 4, 8, 8, 8)
        start = offset
        for place, width in enumerate(widths[: 9 + extra // 8]):
            yield Field(f"snapshot {number} field {place}", start, width)
            start += width
        yield Field(f"snapshot {number} id", start, 1)
        yield Field(f"snapshot {number} name", start + ids, 1)
        yield from _table_fields(f"L1 of snapshot {number}", l1_offset, min(l1_size, 4))
        offset += (40 + extra + ids + names + 7) // 8 * 8


def _compressed_fields(seed: Seed, header: Header) -> Iterator[Field]:
    """The first bytes of compressed data."""
    for _, l1_entry in _entries(seed, header.l1_offset, header.l1_size):
        for _, entry in _entries(seed, l1_entry & OFFSET_MASK, header.cluster_size // 8):
            if entry >> 62 & 1:
                place = entry & (1 << 70 - header.cluster_bits) - 1
                yield Field("compressed data", place, 4)
                yield Field("compressed data", place + 7, 1)


def _table_fields(name: str, offset: int, entries: int) -> Iterator[Field]:
    yield from (Field(f"{name}[{i}]", offset + 8 * i, 8) for i in range(min(entries, 8)))


def _used_fields(seed: Seed, name: str, offset: int, length: int) -> Iterator[Field]:
    """The used entries of a table (not more than 24) and the one behind them."""
    used = [at for at, _ in _entries(seed, offset, length // 8)][:24]
    for at in [*used, (used[-1] if used else offset) + 8]:
        yield Field(f"{name} at {at:#x}", at, 8)


def _entries(seed: Seed, offset: int, count: int) -> list[tuple[int, int]]:
    """(place, value) of the entries of a table that are not zero."""
    table = seed.image[offset : offset + 8 * count]
    values = struct.unpack(f">{len(table) // 8}Q", table[: len(table) // 8 * 8])
    return [(offset + 8 * i, value) for i, value in enumerate(values) if value]


def _header(seed: Seed) -> Header:
    return Header.parse(seed.image[: 1 << 16], Path(seed.name), len(seed.image))
