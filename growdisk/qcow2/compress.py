"""Compressed clusters: deflate without header, and zstd through the system's libzstd.

The length in an L2 entry is rounded up to sectors, so trailing bytes belong to somebody else and are ignored; a zstd
cluster may consist of several frames. libzstd is always there on Debian (dpkg needs it), a Python module is not.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import zlib
from collections.abc import Callable

Decompressor = Callable[[bytes, int], bytes]


class BadCompressedData(ValueError):
    """The data do not decompress to a whole cluster."""


class NoDecompressor(RuntimeError):
    """The library for this compression type is missing."""


def decompressor(compression_type: int) -> Decompressor:
    """The function (data, cluster size) -> cluster for a header's compression type; NoDecompressor if it is missing."""
    return inflate if compression_type == 0 else Zstd()


def inflate(data: bytes, size: int) -> bytes:
    try:
        cluster = zlib.decompressobj(-15).decompress(data, size)
    except zlib.error as error:
        raise BadCompressedData(str(error)) from error
    if len(cluster) != size:
        raise BadCompressedData(f"{len(cluster)} bytes instead of {size}")
    return cluster


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer have the same shape."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("pos", ctypes.c_size_t))


class Zstd:
    """Streaming decompression: it stops when the cluster is full, whatever follows."""

    def __init__(self) -> None:
        try:
            self._lib = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
        except OSError as error:
            raise NoDecompressor("libzstd.so.1 is not on this machine") from error
        self._lib.ZSTD_createDStream.restype = ctypes.c_void_p
        self._lib.ZSTD_freeDStream.argtypes = [ctypes.c_void_p]
        self._lib.ZSTD_decompressStream.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Buffer), ctypes.POINTER(_Buffer)]
        self._lib.ZSTD_decompressStream.restype = ctypes.c_size_t

    def __call__(self, data: bytes, size: int) -> bytes:
        target = ctypes.create_string_buffer(size)
        source = ctypes.create_string_buffer(data, len(data))
        output = _Buffer(ctypes.addressof(target), size, 0)
        feed = _Buffer(ctypes.addressof(source), len(data), 0)
        stream = self._lib.ZSTD_createDStream()
        try:
            while output.pos < size:
                before = (feed.pos, output.pos)
                code = self._lib.ZSTD_decompressStream(stream, ctypes.byref(output), ctypes.byref(feed))
                if self._lib.ZSTD_isError(ctypes.c_size_t(code)) or (feed.pos, output.pos) == before:
                    raise BadCompressedData(f"the zstd stream ends after {output.pos} of {size} bytes")
        finally:
            self._lib.ZSTD_freeDStream(stream)
        return target.raw
