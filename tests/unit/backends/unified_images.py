"""Unified kernel images, made by hand."""

from __future__ import annotations

import struct


def unified(*command_lines: str, signed: bool = False) -> bytes:
    """A program of EFI with sections .cmdline of 512 bytes, one for each profile."""
    optional = (
        struct.pack("<H106xI", 0x20B, 16) + bytes(36) + struct.pack("<I", 8 * signed) + bytes(88)
    )
    texts = [line.encode() for line in command_lines]
    sections = [
        struct.pack("<8sIIII16x", b".cmdline", len(text), 0x3000, 512, 1024 + 512 * number)
        for number, text in enumerate(texts)
    ]
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 64) + b"PE\0\0"
    head += (
        struct.pack("<HH12xH2x", 0x8664, len(texts), len(optional)) + optional + b"".join(sections)
    )
    return head.ljust(1024, b"\0") + b"".join(text.ljust(512, b"\0") for text in texts)
