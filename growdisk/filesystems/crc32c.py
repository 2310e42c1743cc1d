"""CRC-32C (Castagnoli), which ext4 uses for checksums and the standard library lacks. Fit for a superblock or so."""

from __future__ import annotations

_REVERSED_POLYNOMIAL = 0x82F63B78


def _row(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_REVERSED_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = tuple(map(_row, range(256)))


def crc32c(data: bytes, seed: int = 0xFFFFFFFF) -> int:
    """As the kernel's crc32c(): neither seed nor result are inverted."""
    crc = seed
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc
