"""What is inside an initrd: archives one after the other, the last of them compressed mostly. Looked at, not changed.

Spec: Linux Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from growdisk.filesystems.unpacking import Unpackable, unpacked
from growdisk.guest_config.text import is_said

_HEADER, _MAGICS, _TRAILER = 110, (b"070701", b"070702"), "TRAILER!!!"
_MOST = 1 << 30  # bytes, unpacked
_SMALL = 256 << 10  # larger files are programs and modules
_OF_THE_TOOL = ("usr/lib/dracut/build-parameter.txt", "lib/dracut/build-parameter.txt")


class Maker(Enum):
    INITRAMFS_TOOLS = "initramfs-tools"
    DRACUT = "dracut"
    MKINITCPIO = "mkinitcpio"
    UNKNOWN = "an unknown tool"


class Member(NamedTuple):
    """A file of the archive; of a large one, and of what is no file, no content."""

    name: str
    content: bytes


class Contents(NamedTuple):
    """`unread` says why not all could be looked at; "" if all was."""

    maker: Maker
    members: tuple[Member, ...]
    unread: str = ""

    def naming(self, needles: tuple[bytes, ...]) -> list[str]:
        """The files that name one of `needles`, or have it in their names; those that only record how it was made
        do not count."""
        return [
            member.name for member in self.members
            if member.name not in _OF_THE_TOOL
            and (is_said(member.content, needles) or any(needle in member.name.encode() for needle in needles))
        ]  # fmt: skip


def contents_of(initrd: bytes) -> Contents:
    members: list[Member] = []
    unread = ""
    try:
        members.extend(_archives(initrd))
    except (Unpackable, ValueError) as error:
        unread = str(error)
    return Contents(_maker({member.name for member in members}), tuple(members), unread)


def _maker(names: set[str]) -> Maker:
    if "conf/initramfs.conf" in names or "scripts/functions" in names:
        return Maker.INITRAMFS_TOOLS
    if any("dracut" in name for name in names):
        return Maker.DRACUT
    return Maker.MKINITCPIO if {"buildconfig", "init_functions"} & names else Maker.UNKNOWN


def _archives(data: bytes) -> Iterator[Member]:
    at = 0
    while at < len(data):
        while data[at : at + 4] == b"\0\0\0\0":
            at += 4
        if not data[at:].strip(b"\0"):
            return
        if data[at : at + 6] in _MAGICS:
            at, members = _archive(data, at)
            yield from members
        else:
            yield from _archive(unpacked(data[at:], _MOST), 0)[1]
            return


def _archive(data: bytes, at: int) -> tuple[int, list[Member]]:
    """The members of an uncompressed archive, and where it ends."""
    found: list[Member] = []
    while data[at : at + 6] in _MAGICS:
        mode, size, name_size = (int(data[at + place : at + place + 8], 16) for place in (14, 54, 94))
        name = data[at + _HEADER : at + _HEADER + name_size - 1].decode("utf-8", "surrogateescape")
        start = _aligned(at + _HEADER + name_size)
        at = _aligned(start + size)
        if name == _TRAILER:
            return at, found
        wanted = size <= _SMALL and mode >> 12 in (0o10, 0o12)
        found.append(Member(name.removeprefix("./"), data[start : start + size] if wanted else b""))
    raise ValueError("its archive ends too early")


def _aligned(offset: int) -> int:
    return (offset + 3) & ~3
