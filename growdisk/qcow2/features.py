"""Feature bits of a version 3 header, and the table that names them for older programs.

The three fields differ in what a program must do with a bit it does not know: incompatible, refuse;
compatible, keep; autoclear, clear before the first write.
"""

from __future__ import annotations

from enum import IntFlag


class Incompatible(IntFlag):
    """A program that does not know a set bit must not open the image."""

    DIRTY = 1 << 0  # refcounts may be wrong: repair before writing
    CORRUPT = 1 << 1
    DATA_FILE = 1 << 2
    COMPRESSION_TYPE = 1 << 3
    EXTENDED_L2 = 1 << 4


class Compatible(IntFlag):
    LAZY_REFCOUNTS = 1 << 0


class Autoclear(IntFlag):
    """Valid only as long as every writer knows the bit."""

    BITMAPS = 1 << 0
    RAW_DATA_FILE = 1 << 1
    # Ours, and nobody else's: an unfinished run. Whoever else opens the image for writing clears
    # it, as the specification asks of unknown bits, and so tells us that the image is not as we
    # left it.
    GROWDISK_RUN = 1 << 63


# All members of Incompatible: ~ stays within them.
KNOWN_INCOMPATIBLE = int(~Incompatible(0))

_NAMES = (
    (0, 0, "dirty bit"),
    (0, 1, "corrupt bit"),
    (0, 2, "external data file"),
    (0, 3, "compression type"),
    (0, 4, "extended L2 entries"),
    (1, 0, "lazy refcounts"),
    (2, 0, "bitmaps"),
    (2, 1, "raw external data"),
)
_RECORD = 48  # type u8, bit u8, name padded with zeros


def parse_feature_names(table: bytes) -> dict[tuple[int, int], str]:
    """A feature name table as {(0 incompatible | 1 compatible | 2 autoclear, bit): name}."""
    records = [
        table[start : start + _RECORD] for start in range(0, len(table) - _RECORD + 1, _RECORD)
    ]
    return {(r[0], r[1]): r[2:].split(b"\0")[0].decode("utf-8", "replace") for r in records}


def feature_name_table() -> bytes:
    """The names of all features that this program knows, as it writes them into new images."""
    return b"".join(
        bytes((kind, bit)) + name.encode().ljust(_RECORD - 2, b"\0") for kind, bit, name in _NAMES
    )
