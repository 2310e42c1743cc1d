"""A partition table where a file system is looked for: a whole disk in a partition or a volume.

Its places count from its own start, and a GPT keeps its backup at its own end: neither grows with
what is around it.
"""

from __future__ import annotations

import struct
import zlib

GPT_KIND, MBR_KIND = "gpt_table", "dos_table"

_SECTOR = 512
_GPT_HEADER = struct.Struct("<8s4sII")  # signature, revision, size of the header, its checksum
_CRC_AT = 16
_ENTRIES_AT, _ENTRY = 446, struct.Struct("<B3xB3xII")  # boot flag, type, first sector, count
_BOOT_FLAG, _PROTECTIVE = 0x80, 0xEE
_RIGID_DISK_BLOCKS = 16  # an Amiga looks for its table in so many sectors


def nested_gpt(head: bytes) -> str:
    """Its kind, or "".

    The protective MBR before it makes it valid; without one it is a leftover.
    """
    header = head[_SECTOR : 2 * _SECTOR]
    if len(header) < _SECTOR or not any(kind == _PROTECTIVE for _, kind, _, _ in _entries(head)):
        return ""
    signature, _revision, size, checksum = _GPT_HEADER.unpack_from(header)
    if signature != b"EFI PART" or not _GPT_HEADER.size <= size <= _SECTOR:
        return ""
    # The checksum is taken with its own field as zeros.
    summed = header[:_CRC_AT] + bytes(4) + header[_CRC_AT + 4 : size]
    return GPT_KIND if zlib.crc32(summed) == checksum else ""


def nested_mbr(head: bytes, size: int) -> str:
    """Its kind, or "".

    The end mark stands in every boot sector; entries that make sense are in a table only.
    """
    entries = _entries(head)
    used = [(first, count) for _, kind, first, count in entries if kind and count]
    sound = all(flag in (0, _BOOT_FLAG) for flag, *_ in entries)
    inside = all(first and (first + count) * _SECTOR <= size for first, count in used)
    return MBR_KIND if used and sound and inside else ""


def foreign_table(head: bytes) -> str:
    """The table of another kind that a disk has, in words; "" if it has none.

    A GPT counts only after a protective MBR: without one no system takes it for a GPT.
    """
    if head[_SECTOR : _SECTOR + 8] == b"EFI PART":
        return "a GPT, but no protective MBR, without which no system uses it (gdisk writes one)"
    for name, found in (
        ("SGI", head.startswith(b"\x0b\xe5\xa9\x41")),
        # The words of a Sun label, its checksum among them, give 0.
        ("Sun", head[508:510] == b"\xda\xbe" and not _xor_of_words(head[:_SECTOR])),
        ("Apple", head.startswith(b"ER") and head[_SECTOR : _SECTOR + 2] == b"PM"),
        (
            "Amiga",
            b"RDSK"
            in (head[at : at + 4] for at in range(0, _RIGID_DISK_BLOCKS * _SECTOR, _SECTOR)),
        ),
        # DISKMAGIC (0x82564557, little-endian). Where the label is depends on the architecture.
        ("BSD", b"WEV\x82" in (head[at : at + 4] for at in (0, 64, _SECTOR))),
    ):
        if found:
            return f"a partition table of {name}, which growdisk does not know"
    return ""


def _xor_of_words(sector: bytes) -> int:
    value = 0
    for (word,) in struct.iter_unpack(">H", sector):
        value ^= word
    return value


def _entries(head: bytes) -> list[tuple[int, int, int, int]]:
    """Flag, type, first sector, count; none if there is no mark of a boot record."""
    if head[510:512] != b"\x55\xaa":
        return []
    return [_ENTRY.unpack_from(head, _ENTRIES_AT + slot * _ENTRY.size) for slot in range(4)]
