"""Unified kernel images: a kernel, its command line and its initrd in one program of EFI.

    .cmdline   root=UUID=… resume=UUID=…      becomes      root=UUID=… noresume

Each section keeps its place and size (further profiles have further ones). `noresume` is obeyed by
the initrds of initramfs-tools, dracut and mkinitcpio, and so speaks for a RESUME within the one
that is inside. A signed image is never changed. Specs: Microsoft's PE format; UAPI.5 Unified Kernel
Image; kernel-parameters.txt (noresume).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from growdisk.fast_dataclass import NamedTuple

_PE_OFFSET, _SIGNATURE = 0x3C, b"PE\0\0"
# COFF header: machine, number of sections; size of the optional header. Section header: name,
# VirtualSize, VirtualAddress, SizeOfRawData, PointerToRawData.
_FILE_HEADER, _SECTION = struct.Struct("<HH12xH2x"), struct.Struct("<8sIIII16x")
_PE32, _PE32_PLUS = 0x10B, 0x20B
# IMAGE_DIRECTORY_ENTRY_SECURITY: a signature stands there, if it has a size.
_CERTIFICATES = 4  # the data directory's row
_MOST_SECTIONS = 96
NO_RESUME = "noresume"


class PeSection(NamedTuple):
    """`size` bytes of content in `room` bytes of the file from `start`; header at `header`."""

    header: int
    start: int
    size: int
    room: int


class Unified:
    """A unified kernel image, or an addon of one, by its bytes."""

    def __init__(self, content: bytes) -> None:
        """ValueError if it is none."""
        self._content = content
        try:
            found, self.is_signed = _read(content)
        except struct.error as error:
            raise ValueError("it ends too early") from error
        self.sections = dict(reversed(found))  # the first of a name
        self._lines = [section for name, section in found if name == ".cmdline"]
        if not self._lines:
            raise ValueError("it has no command line")

    @property
    def command_lines(self) -> list[str]:
        """The first is the image's own, others are those of further profiles."""
        raw = (self._content[line.start : line.start + line.size] for line in self._lines)
        return [line.split(b"\0")[0].decode("utf-8", "surrogateescape") for line in raw]

    @property
    def initrd(self) -> bytes:
        section = self.sections.get(".initrd")
        return self._content[section.start : section.start + section.size] if section else b""

    def with_command_lines(self, texts: Sequence[str]) -> bytes | None:
        """The whole file with other command lines; None if it has no room for one."""
        content = bytearray(self._content)
        for section, text in zip(self._lines, texts, strict=True):
            new = text.encode("utf-8", "surrogateescape")
            if len(new) > section.room:
                return None
            size = max(section.size, len(new))
            # Blanks: what follows a NUL is not a command line.
            content[section.start : section.start + size] = new.ljust(size)
            # VirtualSize: how much of the section there is in memory.
            content[section.header + 8 : section.header + 12] = size.to_bytes(4, "little")
        return bytes(content)


def is_program(head: bytes) -> bool:
    return head.startswith(b"MZ")


def _read(content: bytes) -> tuple[list[tuple[str, PeSection]], bool]:
    (at,) = struct.unpack_from("<I", content, _PE_OFFSET)
    if content[:2] != b"MZ" or content[at : at + 4] != _SIGNATURE:
        raise ValueError("it is not a program of EFI")
    _, count, optional_size = _FILE_HEADER.unpack_from(content, at + 4)
    optional = at + 4 + _FILE_HEADER.size
    (magic,) = struct.unpack_from("<H", content, optional)
    if magic not in (_PE32, _PE32_PLUS) or count > _MOST_SECTIONS:
        raise ValueError("it is not a program of EFI")
    # The number of rows stands right before the first one; PE32+ has wider fields before both.
    directories = optional + (112 if magic == _PE32_PLUS else 96)
    (rows,) = struct.unpack_from("<I", content, directories - 4)
    signed = (
        rows > _CERTIFICATES
        and struct.unpack_from("<I", content, directories + 8 * _CERTIFICATES + 4)[0] > 0
    )
    sections: list[tuple[str, PeSection]] = []
    for number in range(count):
        header = optional + optional_size + number * _SECTION.size
        # A section may have more room in the file than content: it is rounded up to the file's
        # alignment.
        name, size, _, room, start = _SECTION.unpack_from(content, header)
        if start + room > len(content):
            raise ValueError("it ends too early")
        sections.append(
            (name.rstrip(b"\0").decode("latin-1"), PeSection(header, start, min(size, room), room))
        )
    return sections, bool(signed)
