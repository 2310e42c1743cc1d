"""Headers that the format allows, or nearly, and that two readers could take for different things.

The header is taken apart, changed as a whole and put together again: extensions doubled, reordered,
cut short, placed after the name of the backing file; fields on the borders of what is allowed;
names of all sorts. Nothing after the header is moved, so what an image shows depends on how its
header is read.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from growdisk.qcow2.header import Extension
from tests.fuzz.mutants import Mutant, mutants
from tests.fuzz.seeds import Seed

#: What lies beside each image, for names to mean: (name, content); every one is another disk.
DECOYS = {
    "other.raw": bytes(range(255, -1, -1)) * 1024,
    "small.raw": b"\x11" * 700,
    "a:b.raw": b"\x22" * 65536,
    "with,comma.raw": b"\x33" * 65536,
    "caf\udce9.raw": b"\x44" * 65536,
}
_NAMES = (
    *DECOYS, "./a:b.raw", "file:other.raw", "file:./other.raw", "file:a:b.raw", "FILE:other.raw",
    "./other.raw",
    "other.raw/", "other.raw\0.gone", "\0", "json:{\"driver\":\"file\",\"filename\":\"other.raw\"}",
    "nbd:localhost:1",
    "host_device:other.raw", "fat:.", "missing", ".", "x/../other.raw", "//other.raw",
    "2026-01-02T10:00.raw",
    "n" * 300, "n" * 1023, "other.raw?x", "%6fther.raw", "other.raw\n",
)  # fmt: skip
_FORMATS = (
    b"raw", b"qcow2", b"", b"qcow2\0", b"raw\0qcow2", b"file", b"vmdk", b"host_device", b"QCOW2",
    b"q" * 15, b"q" * 16,
)  # fmt: skip
_UNKNOWN = 0x11223344
_LIMIT = 1 << 12  # what stands before the first table in all seeds, or less: the cluster's size


@dataclass(frozen=True)
class Parts:
    """A header taken apart.

    `fields`: (value, width) by name, in order; `gap`: bytes before the backing file's name.
    """

    fields: dict[str, tuple[int, int]]
    late: bytes
    extensions: tuple[tuple[int, bytes, int | None], ...]  # type, data, a length that lies
    ended: bool
    name: bytes | None
    gap: int = 0
    behind: tuple[tuple[int, bytes, int | None], ...] = field(default=())  # after the name

    def to_bytes(self) -> bytes:
        body = b"".join(map(_packed, self.extensions)) + bytes(8) * self.ended
        fixed = (
            b"".join(value.to_bytes(width, "big") for value, width in self.fields.values())
            + self.late
        )
        values = dict(self.fields)
        if self.name is not None and values["backing_offset"][0] in (0, _AUTO):
            values["backing_offset"] = (len(fixed) + len(body) + self.gap, 8)
            values["backing_length"] = (len(self.name), 4)
        fixed = (
            b"".join(value.to_bytes(width, "big") for value, width in values.values()) + self.late
        )
        return (
            fixed
            + body
            + bytes(self.gap)
            + (self.name or b"")
            + b"".join(map(_packed, self.behind))
        )


_AUTO = (1 << 64) - 1
Change = Callable[[Parts, random.Random], Parts]


def header_mutants(seed: Seed, count: int, number: int = 0) -> Iterator[Mutant]:
    """`count` headers for this seed, in the random order `number`; one in five of mutants.py."""
    chance, lies = random.Random(f"headers {seed.name} {number}"), mutants(seed, count, number)
    for turn in range(count):
        lie = next(lies)
        if (
            chance.random() < 0.2
            and lie.length is None
            and all(at < len(seed.image) for at, _ in lie.patches)
        ):
            yield lie
            continue
        parts, names = taken_apart(seed), []
        for _ in range(chance.choice((1, 1, 1, 2, 2, 3))):
            change = chance.choice(_CHANGES)
            parts = change(parts, chance)
            names.append(change.__name__.strip("_"))
        data = parts.to_bytes()
        room = min(_LIMIT, 1 << int.from_bytes(seed.image[20:24], "big"))
        yield Mutant(
            f"{seed.name}/{number}.{turn}: {', '.join(names)}",
            ((0, data[:room].ljust(room, b"\0")),),
        )


def taken_apart(seed: Seed) -> Parts:
    image, names = seed.image, _V2_FIELDS
    version = int.from_bytes(image[4:8], "big")
    if version >= 3:
        names += _V3_FIELDS
    fields, offset = {}, 0
    for word in names.split():
        name, _, width = word.partition(":")
        fields[name] = (int.from_bytes(image[offset : offset + int(width)], "big"), int(width))
        offset += int(width)
    length = fields["header_length"][0] if version >= 3 else 72
    place, size = fields["backing_offset"][0], fields["backing_length"][0]
    found, at = [], length
    while (kind := int.from_bytes(image[at : at + 4], "big")) != 0:
        end = at + 8 + int.from_bytes(image[at + 4 : at + 8], "big")
        found.append((kind, image[at + 8 : end], None))
        at = at + 8 + -(-(end - at - 8) // 8) * 8
    if place:
        fields["backing_offset"] = (_AUTO, 8)
    name = image[place : place + size] if place else None
    return Parts(fields, image[offset:length], tuple(found), ended=True, name=name)


_V2_FIELDS = (
    "magic:4 version:4 backing_offset:8 backing_length:4 cluster_bits:4 size:8 crypt:4 l1_size:4 "
    "l1_offset:8 "
    "reftable_offset:8 reftable_clusters:4 snapshots:4 snapshots_offset:8"
)
_V3_FIELDS = " incompatible:8 compatible:8 autoclear:8 refcount_order:4 header_length:4"


def _packed(extension: tuple[int, bytes, int | None]) -> bytes:
    kind, data, length = extension
    return (
        struct.pack(">II", kind, len(data) if length is None else length)
        + data
        + bytes(-len(data) % 8)
    )


# --- changes --------------------------------------------------------------------------------------


def _double(parts: Parts, chance: random.Random) -> Parts:
    """One extension stands twice, the other one with other data."""
    if not parts.extensions:
        return _add(parts, chance)
    kind, data, length = chance.choice(parts.extensions)
    at = chance.randrange(len(parts.extensions) + 1)
    twin = (kind, _other_data(kind, data, chance), length)
    return replace(parts, extensions=(*parts.extensions[:at], twin, *parts.extensions[at:]))


def _other_data(kind: int, data: bytes, chance: random.Random) -> bytes:
    if kind == Extension.BACKING_FORMAT:
        return chance.choice(_FORMATS)
    if kind == Extension.DATA_FILE:
        return _name(chance)
    if not data:
        return b"\1"
    at = chance.randrange(len(data))
    changed = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
    return chance.choice((changed, data[:-1], data + b"\0", bytes(len(data))))


def _add(parts: Parts, chance: random.Random) -> Parts:
    """An extension more, of a type that is known or not."""
    kind, data = chance.choice(
        (
            (Extension.BACKING_FORMAT, chance.choice(_FORMATS)),
            (Extension.DATA_FILE, _name(chance)),
            (_UNKNOWN, chance.randbytes(chance.choice((0, 1, 9)))), (Extension.CRYPTO, bytes(16)),
            (Extension.BITMAPS,
                struct.pack(">IIQQ", chance.randrange(3), 0, chance.choice((0, 32, 64)), 1 << 12)),
        )
    )  # fmt: skip
    at = chance.randrange(len(parts.extensions) + 1)
    return replace(
        parts, extensions=(*parts.extensions[:at], (kind, data, None), *parts.extensions[at:])
    )


def _shuffle(parts: Parts, chance: random.Random) -> Parts:
    return replace(parts, extensions=tuple(chance.sample(parts.extensions, len(parts.extensions))))


def _drop(parts: Parts, chance: random.Random) -> Parts:
    at = chance.randrange(len(parts.extensions) + 1)
    return replace(parts, extensions=parts.extensions[:at] + parts.extensions[at + 1 :])


def _no_end(parts: Parts, chance: random.Random) -> Parts:
    return replace(parts, ended=False, gap=chance.choice((0, 1, 4, 7, 8)))


def _length_lies(parts: Parts, chance: random.Random) -> Parts:
    if not parts.extensions:
        return parts
    at = chance.randrange(len(parts.extensions))
    kind, data, _ = parts.extensions[at]
    length = chance.choice(
        (0, len(data) - 1, len(data) + 1, len(data) + 8, 1 << 12, 1 << 31, (1 << 32) - 1)
    ) % (1 << 32)
    changed = (kind, data, length)
    return replace(parts, extensions=(*parts.extensions[:at], changed, *parts.extensions[at + 1 :]))


def _behind_the_name(parts: Parts, chance: random.Random) -> Parts:
    """An extension after the backing file's name, where none is looked for."""
    kind = chance.choice((Extension.BACKING_FORMAT, Extension.DATA_FILE))
    return replace(
        parts, behind=((kind, _other_data(kind, b"", chance), None),), ended=chance.random() < 0.5
    )


def _rename(parts: Parts, chance: random.Random) -> Parts:
    """Another backing file, or none, or one where there was none."""
    fields = parts.fields | {"backing_offset": (_AUTO, 8)}
    return replace(parts, name=_name(chance), fields=fields)


def _format(parts: Parts, chance: random.Random) -> Parts:
    others = tuple(
        extension for extension in parts.extensions if extension[0] != Extension.BACKING_FORMAT
    )
    return replace(
        parts, extensions=((Extension.BACKING_FORMAT, chance.choice(_FORMATS), None), *others)
    )


def _data_name(parts: Parts, chance: random.Random) -> Parts:
    others = tuple(
        extension for extension in parts.extensions if extension[0] != Extension.DATA_FILE
    )
    return replace(parts, extensions=((Extension.DATA_FILE, _name(chance), None), *others))


def _length_of_header(parts: Parts, chance: random.Random) -> Parts:
    """Vary the length of the fields after the known ones, also to no multiple of 8."""
    if "header_length" not in parts.fields:
        return parts
    length = chance.choice((0, 72, 103, 104, 105, 108, 111, 112, 120, 200, 4096, 1 << 31))
    late = (
        parts.late[:1] + chance.randbytes(200)
        if chance.random() < 0.5
        else parts.late.ljust(200, b"\0")
    )
    return replace(
        parts,
        fields=parts.fields | {"header_length": (length, 4)},
        late=late[: min(max(length - 104, 0), 200)],
    )


def _field(parts: Parts, chance: random.Random) -> Parts:
    """One field of the header on a border."""
    name = chance.choice([name for name in parts.fields if name != "magic"])
    old, width = parts.fields[name]
    values = (
        0, 1, 2, 3, 4, 5, 7, old + 1, old - 1, old + 511, old - 511,
        old ^ 1 << chance.randrange(8 * width), 2 * old,
        1 << 8 * width - 1, (1 << 8 * width) - 1, 1 << chance.randrange(8 * width),
    )  # fmt: skip
    return replace(
        parts, fields=parts.fields | {name: (chance.choice(values) % (1 << 8 * width), width)}
    )


def _bits(parts: Parts, chance: random.Random) -> Parts:
    """A feature bit more or less."""
    if "incompatible" not in parts.fields:
        return parts
    name = chance.choice(("incompatible", "compatible", "autoclear"))
    bit = 1 << chance.choice((0, 1, 2, 3, 4, 5, 63))
    return replace(parts, fields=parts.fields | {name: (parts.fields[name][0] ^ bit, 8)})


def _size(parts: Parts, chance: random.Random) -> Parts:
    size = parts.fields["size"][0] + chance.choice((-4096, -513, -511, -1, 1, 100, 511, 512, 4096))
    return replace(parts, fields=parts.fields | {"size": (max(size, 0), 8)})


def _compression(parts: Parts, chance: random.Random) -> Parts:
    return (
        replace(parts, late=bytes([chance.choice((0, 1, 2, 255))]) + parts.late[1:])
        if parts.late
        else parts
    )


def _nothing_there(parts: Parts, chance: random.Random) -> Parts:
    """The place of a table that has no entries."""
    place, count = chance.choice((("snapshots_offset", "snapshots"), ("l1_offset", "l1_size")))
    offset = chance.choice((0, 1, 511, 1 << 12, 1 << 40, (1 << 63) + 4096, (1 << 64) - 4096))
    return replace(parts, fields=parts.fields | {place: (offset, 8), count: (0, 4)})


def _name(chance: random.Random) -> bytes:
    return chance.choice(_NAMES).encode("utf-8", "surrogateescape")


_CHANGES: tuple[Change, ...] = (
    _double, _double, _add, _shuffle, _drop, _no_end, _length_lies, _behind_the_name, _rename,
    _rename, _format, _data_name, _length_of_header, _field, _field, _bits, _bits, _size,
    _compression, _nothing_there,
)  # fmt: skip
