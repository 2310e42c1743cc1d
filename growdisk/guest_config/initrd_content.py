"""What is inside an initrd: archives one after the other, the last of them compressed mostly.

Looked at, not changed. Spec: Linux Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from growdisk.fast_dataclass import NamedTuple
from growdisk.filesystems.unpacking import Unpackable, pieces_of
from growdisk.guest_config.files import PROGRAM, is_said

# cpio, newc and with checksums: the header's thirteen numbers of eight hexadecimal digits follow.
MAGICS, TRAILER = (b"070701", b"070702"), "TRAILER!!!"
_HEADER = 110
_LONGEST_NAME = 4096
_MOST = 1 << 30  # bytes, unpacked
_SMALL = 256 << 10  # larger files are programs and modules
# What is kept of the others, in bytes, and how many names: far more than any initrd has.
_MOST_KEPT, _MOST_MEMBERS = 256 << 20, 1 << 17
_OF_THE_TOOL = ("usr/lib/dracut/build-parameter.txt", "lib/dracut/build-parameter.txt")


class Maker(Enum):
    INITRAMFS_TOOLS = "initramfs-tools"
    DRACUT = "dracut"
    MKINITCPIO = "mkinitcpio"
    UNKNOWN = "an unknown tool"


class Member(NamedTuple):
    """A file of the archive; large ones, programs and what is not a file have no content."""

    name: str
    content: bytes


class Contents(NamedTuple):
    """`unread` says why not all could be looked at; "" if all was."""

    maker: Maker
    members: tuple[Member, ...]
    unread: str = ""

    def naming(self, needles: tuple[bytes, ...]) -> list[str]:
        """The files with one of `needles` in their content or name.

        Files that only record how the initrd was made do not count.
        """
        return [
            member.name
            for member in self.members
            if member.name not in _OF_THE_TOOL
            and (
                is_said(member.content, needles)
                or any(needle in member.name.encode() for needle in needles)
            )
        ]


def contents_of(initrd: bytes) -> Contents:
    members: list[Member] = []
    unread, kept = "", 0
    try:
        for member in _archives(initrd):
            kept += len(member.content)
            if kept > _MOST_KEPT or len(members) == _MOST_MEMBERS:
                raise ValueError("it has more small files than an initrd can have")
            members.append(member)
    except (Unpackable, ValueError) as error:
        unread = str(error)
    return Contents(_maker({member.name for member in members}), tuple(members), unread)


def _maker(names: set[str]) -> Maker:
    if "conf/initramfs.conf" in names or "scripts/functions" in names:
        return Maker.INITRAMFS_TOOLS
    if any("dracut" in name for name in names):
        return Maker.DRACUT
    return Maker.MKINITCPIO if {"buildconfig", "init_functions"} & names else Maker.UNKNOWN


def leading_names(head: bytes) -> Iterator[str]:
    """Members of the uncompressed archives at an initrd's start, as far as `head` reaches."""
    try:
        yield from (member.name for member in _archives(head, packed=False))
    except ValueError:
        return


def _archives(data: bytes, *, packed: bool = True) -> Iterator[Member]:
    """Without those that are `packed`, if so wanted."""
    at = 0
    while at < len(data):
        while data[at : at + 4] == b"\0\0\0\0":
            at += 4
        # Padding at the end need not be whole words.
        if not data[at : at + 4].strip(b"\0") and not data[at:].strip(b"\0"):
            return
        # What is compressed is taken as the last of them.
        if data[at : at + 6] not in MAGICS:
            if packed:
                yield from _archive(_PieceReader(pieces_of(memoryview(data)[at:])))
            return
        stream = _PieceReader(iter([memoryview(data)[at:]]))
        yield from _archive(stream)
        at += stream.position


class _PieceReader:
    """What `pieces` bring, read forwards and never held as a whole."""

    def __init__(self, pieces: Iterator[memoryview]) -> None:
        self._pieces, self._piece = pieces, memoryview(b"")
        self.position = 0

    def read(self, length: int) -> bytes:
        """Fewer at its end."""
        return b"".join(map(bytes, self._next(length)))

    def skip(self, length: int) -> None:
        for _ in self._next(length):
            pass

    def _next(self, length: int) -> Iterator[memoryview]:
        while length:
            while not self._piece:
                try:
                    self._piece = next(self._pieces)
                except StopIteration:
                    return
            taken, self._piece = self._piece[:length], self._piece[length:]
            length -= len(taken)
            self.position += len(taken)
            # A packed file of some MiB may be made to unpack into anything.
            if self.position > _MOST:
                raise ValueError(f"it is larger than {_MOST >> 30} GiB")
            yield taken


def _archive(stream: _PieceReader) -> Iterator[Member]:
    """The members of an archive; the stream is at its end afterwards."""
    while len(header := stream.read(_HEADER)) == _HEADER and header.startswith(MAGICS):
        mode, size, name_size = (_number(header[place : place + 8]) for place in (14, 54, 94))
        if name_size > _LONGEST_NAME:
            raise ValueError("its archive is damaged")
        name = stream.read(name_size)[:-1].decode("utf-8", "surrogateescape")
        stream.skip(-stream.position % 4)
        if name == TRAILER:
            stream.skip(size + -size % 4)
            return
        # The upper bits of a mode: 0o10 is a regular file, 0o12 a link, whose content is its
        # target.
        wanted = size <= _SMALL and mode >> 12 in (0o10, 0o12)
        content = stream.read(size) if wanted else b""
        stream.skip((0 if wanted else size) + -size % 4)
        yield Member(name.removeprefix("./"), b"" if content.startswith(PROGRAM) else content)
    raise ValueError("its archive ends too early")


def _number(digits: bytes) -> int:
    try:
        return int(digits, 16)
    except ValueError:
        raise ValueError("its archive is damaged") from None
