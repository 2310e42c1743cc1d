"""Unpacks zlib, xz, bzip2, zstd and lz4 streams, as far as needed: initrds, btrfs' extents.

zstd and lz4 come from the system's libraries, if installed. ValueError if a stream is damaged
or cannot be read. A large stream comes in pieces that share one buffer: fresh memory for all of it
would take longer than unpacking it.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator

_LZ4_LIBRARY = "liblz4.so.1"
_LZ4_LEGACY = b"\x02\x21\x4c\x18"
_LZ4_BLOCK = 8 << 20
# Bytes that come out, and bytes that are fed, at once.
_PIECE = 1 << 20
_FEED = 256 << 10


class Unpackable(ValueError):
    """The text says why."""


def unpacked(data: bytes | memoryview, limit: int) -> bytes:
    """The stream that `data` begins with, at most `limit` bytes of it.

    What follows the stream is ignored.
    """
    found = bytearray()
    for piece in pieces_of(data):
        found += piece[: limit - len(found)]
        if len(found) == limit:
            break
    return bytes(found)


def pieces_of(data: bytes | memoryview) -> Iterator[memoryview]:
    """The same, piece by piece and without a limit.

    Each piece is gone when the next one is asked for.
    """
    view = memoryview(data)
    for magic, unpack in _KINDS:
        if view[: len(magic)] == magic:
            try:
                yield from unpack(view)
            except (zlib.error, lzma.LZMAError, OSError, EOFError, struct.error) as error:
                raise Unpackable(str(error) or "it is damaged") from error
            return
    raise Unpackable("it is compressed in an unknown way")


def _zstd(data: memoryview) -> Iterator[memoryview]:
    # Loaded where it is needed: most plans unpack nothing.
    import ctypes

    from growdisk.block.compression import LIBRARY, ZstdBuffer, load_libzstd

    try:
        library = load_libzstd()
    except OSError as error:
        raise _not_installed(LIBRARY) from error
    target = ctypes.create_string_buffer(_PIECE)
    stream = library.ZSTD_createDStream()
    try:
        for at in range(0, len(data), _FEED):
            fed = bytes(data[at : at + _FEED])
            feed = ZstdBuffer(ctypes.cast(ctypes.c_char_p(fed), ctypes.c_void_p), len(fed), 0)
            is_full = True
            while is_full or feed.pos < len(fed):
                room = ZstdBuffer(ctypes.addressof(target), _PIECE, 0)
                code = library.ZSTD_decompressStream(stream, ctypes.byref(room), ctypes.byref(feed))
                if library.ZSTD_isError(code):
                    raise Unpackable("its zstd stream is damaged")
                yield memoryview(target)[: room.pos]
                if code == 0:
                    return
                # A full buffer may mean that more of what was fed is ready: it is asked again
                # before the next feed.
                is_full = room.pos == _PIECE
    finally:
        library.ZSTD_freeDStream(stream)


def _not_installed(name: str) -> Unpackable:
    return Unpackable(f"{name} is not there to unpack it")


def _by(
    new: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor],
) -> Callable[[memoryview], Iterator[memoryview]]:
    def unpack(data: memoryview) -> Iterator[memoryview]:
        stream, at = new(), 0
        # Nothing is fed as long as the stream still has output for what it got.
        while not stream.eof and (at < len(data) or not stream.needs_input):
            feed = bytes(data[at : at + _FEED]) if stream.needs_input else b""
            at += len(feed)
            yield memoryview(stream.decompress(feed, _PIECE))

    return unpack


def _gzip(data: memoryview) -> Iterator[memoryview]:
    # 16 + 15: with a gzip header, and the largest window.
    stream = zlib.decompressobj(wbits=31)
    for at in range(0, len(data), _FEED):
        feed = bytes(data[at : at + _FEED])
        while feed and not stream.eof:
            yield memoryview(stream.decompress(feed, _PIECE))
            feed = stream.unconsumed_tail
        if stream.eof:
            return
    yield memoryview(stream.flush())


def _lz4_legacy(data: memoryview) -> Iterator[memoryview]:
    """The only form of lz4 that the kernel reads: blocks of 8 MiB, each after its length."""
    import ctypes

    try:
        library = ctypes.CDLL(_LZ4_LIBRARY)
    except OSError as error:
        raise _not_installed(_LZ4_LIBRARY) from error
    target = ctypes.create_string_buffer(_LZ4_BLOCK)
    at = len(_LZ4_LEGACY)
    while at + 4 <= len(data):
        (length,) = struct.unpack_from("<I", data, at)
        # Zeros fill an initrd up; a second magic begins another stream.
        if not length or data[at : at + 4] == _LZ4_LEGACY or at + 4 + length > len(data):
            return
        count = library.LZ4_decompress_safe(
            bytes(data[at + 4 : at + 4 + length]), target, length, _LZ4_BLOCK
        )
        if count < 0:
            raise Unpackable("its lz4 stream is damaged")
        yield memoryview(target)[:count]
        at += 4 + length


_KINDS: tuple[tuple[bytes, Callable[[memoryview], Iterator[memoryview]]], ...] = (
    (b"\x28\xb5\x2f\xfd", _zstd),
    (b"\x1f\x8b", _gzip),
    (b"\xfd7zXZ", _by(lzma.LZMADecompressor)),
    (b"\x5d\0\0", _by(lzma.LZMADecompressor)),
    (b"BZh", _by(bz2.BZ2Decompressor)),
    (_LZ4_LEGACY, _lz4_legacy),
)
