"""Firmware for machines that have no guest."""

from __future__ import annotations

from pathlib import Path

from tests.guests.cache import cached

_SIZE = 64 << 10
_START = 0xFFF0  # where an x86 processor begins
_HALT = bytes.fromhex("fa f4 eb fc")  # cli; hlt; jump back to cli


def halting() -> Path:
    """A ROM that halts the processor: the usual one runs what it finds on a disk, at full speed."""
    return cached("halting-firmware-1", _make) / "rom"


def _make(folder: Path) -> None:
    rom = bytearray(_SIZE)
    rom[_START : _START + len(_HALT)] = _HALT
    (folder / "rom").write_bytes(rom)
