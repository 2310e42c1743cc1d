"""zlib, xz, bzip2, zstd and lz4 streams, unpacked as far as one wants: initrds, and what btrfs has compressed.

zstd and lz4 come from the system's libraries, where they are. ValueError where a stream is damaged or cannot be read.
"""

from __future__ import annotations

import bz2
import ctypes
import lzma
import struct
import zlib
from collections.abc import Callable

_LZ4_LEGACY = b"\x02\x21\x4c\x18"
_LZ4_BLOCK = 8 << 20


class Unpackable(ValueError):
    """The text says why."""


def unpacked(data: bytes, limit: int) -> bytes:
    """The stream that `data` begins with, at most `limit` bytes of it. What follows the stream is ignored."""
    for magic, unpack in _KINDS:
        if data.startswith(magic):
            try:
                return unpack(data, limit)
            except (zlib.error, lzma.LZMAError, OSError, EOFError, struct.error) as error:
                raise Unpackable(str(error) or "it is damaged") from error
    raise Unpackable("it is compressed in an unknown way")


def unpack_zstd(data: bytes, limit: int) -> bytes:
    library = _library("libzstd.so.1")
    library.ZSTD_createDStream.restype = ctypes.c_void_p
    library.ZSTD_freeDStream.argtypes = [ctypes.c_void_p]
    library.ZSTD_decompressStream.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Buffer), ctypes.POINTER(_Buffer)]
    library.ZSTD_decompressStream.restype = ctypes.c_size_t
    library.ZSTD_isError.argtypes = [ctypes.c_size_t]
    source, target = ctypes.create_string_buffer(data, len(data)), ctypes.create_string_buffer(1 << 20)
    feed = _Buffer(ctypes.addressof(source), len(data), 0)
    found = bytearray()
    stream = library.ZSTD_createDStream()
    try:
        while len(found) < limit:
            room, before = _Buffer(ctypes.addressof(target), len(target), 0), feed.pos
            code = library.ZSTD_decompressStream(stream, ctypes.byref(room), ctypes.byref(feed))
            if library.ZSTD_isError(code):
                raise Unpackable("its zstd stream is damaged")
            found += ctypes.string_at(target, room.pos)
            if code == 0 or (feed.pos == before and not room.pos):
                break
    finally:
        library.ZSTD_freeDStream(stream)
    return bytes(found[:limit])


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer have the same shape."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("pos", ctypes.c_size_t))


def _library(name: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise Unpackable(f"{name} is not there to unpack it") from error


def _gzip(data: bytes, limit: int) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(data, limit)


def _xz(data: bytes, limit: int) -> bytes:
    return lzma.LZMADecompressor().decompress(data, limit)


def _bzip2(data: bytes, limit: int) -> bytes:
    return bz2.BZ2Decompressor().decompress(data, limit)


def _lz4_legacy(data: bytes, limit: int) -> bytes:
    """The only form of lz4 that the kernel reads: blocks of 8 MiB, each behind its length."""
    library = _library("liblz4.so.1")
    target = ctypes.create_string_buffer(_LZ4_BLOCK)
    found, at = bytearray(), 4
    while at + 4 <= len(data) and len(found) < limit:
        (length,) = struct.unpack_from("<I", data, at)
        if not length or data[at : at + 4] == _LZ4_LEGACY or at + 4 + length > len(data):
            break
        count = library.LZ4_decompress_safe(data[at + 4 : at + 4 + length], target, length, _LZ4_BLOCK)
        if count < 0:
            raise Unpackable("its lz4 stream is damaged")
        found += ctypes.string_at(target, count)
        at += 4 + length
    return bytes(found[:limit])


_KINDS: tuple[tuple[bytes, Callable[[bytes, int], bytes]], ...] = (
    (b"\x28\xb5\x2f\xfd", unpack_zstd), (b"\x1f\x8b", _gzip), (b"\xfd7zXZ", _xz), (b"\x5d\0\0", _xz),
    (b"BZh", _bzip2), (_LZ4_LEGACY, _lz4_legacy),
)  # fmt: skip
