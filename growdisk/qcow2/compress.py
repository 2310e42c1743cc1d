"""Compressed clusters: deflate without header, and zstd through the system's libzstd.

The length in an L2 entry is rounded up to sectors, so trailing bytes belong to somebody else and are ignored; a zstd
cluster may consist of several frames. libzstd is always there on Debian (dpkg needs it), a Python module is not.
Both libraries let go of the interpreter while they work, so threads compress in parallel.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable

from growdisk.errors import ToolMissing
from growdisk.values import dataclass

Decompressor = Callable[[bytes, int], bytes]
Compressor = Callable[[bytes | memoryview], bytes | None]

_WINDOW_BITS = -12  # 4 KiB and no header, as QEMU writes; anything larger, QEMU would not inflate
_MEMORY_LEVEL = 9
_ZSTD_LEVEL = 3  # the library's own default, which QEMU takes


@dataclass(frozen=True)
class CompressedCluster:
    """Guest bytes `data` from `offset` on; `packed`: the whole cluster compressed, None where that saves nothing."""

    offset: int
    data: bytes
    packed: bytes | None

    @classmethod
    def of(cls, offset: int, data: bytes, cluster_size: int, compress: Compressor) -> CompressedCluster:
        if offset % cluster_size or not 0 < len(data) <= cluster_size:
            raise ValueError(f"{len(data)} bytes at {offset:#x} are not a cluster of {cluster_size:#x} bytes")
        whole = data if len(data) == cluster_size else data.ljust(cluster_size, b"\0")
        return cls(offset, data, compress(whole))


class BadCompressedData(ValueError):
    """The data do not decompress to a whole cluster."""


def decompressor(compression_type: int) -> Decompressor:
    """The function (data, cluster size) -> cluster for a header's compression type, or ToolMissing."""
    return inflate if compression_type == 0 else Zstd().decompress


def compressor(compression_type: int) -> Compressor:
    """The function cluster -> fewer bytes (None where there are not fewer), or ToolMissing."""
    return deflate if compression_type == 0 else Zstd().compress


def deflate(cluster: bytes | memoryview) -> bytes | None:
    stream = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL)
    packed = stream.compress(cluster) + stream.flush()
    return packed if len(packed) < len(cluster) else None


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
    """libzstd, found when first needed. One object may serve several threads."""

    def __init__(self) -> None:
        try:
            self._lib = ctypes.CDLL("libzstd.so.1")
        except OSError as error:
            raise ToolMissing("libzstd.so.1", package="libzstd1") from error
        self._lib.ZSTD_createDStream.restype = ctypes.c_void_p
        self._lib.ZSTD_freeDStream.argtypes = [ctypes.c_void_p]
        self._lib.ZSTD_decompressStream.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Buffer), ctypes.POINTER(_Buffer)]
        self._lib.ZSTD_decompressStream.restype = ctypes.c_size_t
        self._lib.ZSTD_compress.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int,
        ]  # fmt: skip
        self._lib.ZSTD_compress.restype = ctypes.c_size_t
        self._lib.ZSTD_isError.argtypes = [ctypes.c_size_t]

    def compress(self, cluster: bytes | memoryview) -> bytes | None:
        """One frame; None if it does not fit into fewer bytes."""
        target = ctypes.create_string_buffer(len(cluster))
        code = self._lib.ZSTD_compress(target, len(cluster) - 1, bytes(cluster), len(cluster), _ZSTD_LEVEL)
        return None if self._lib.ZSTD_isError(code) else target.raw[:code]

    def decompress(self, data: bytes, size: int) -> bytes:
        """Streaming: it stops when the cluster is full, whatever follows."""
        target = ctypes.create_string_buffer(size)
        source = ctypes.create_string_buffer(data, len(data))
        output = _Buffer(ctypes.addressof(target), size, 0)
        feed = _Buffer(ctypes.addressof(source), len(data), 0)
        stream = self._lib.ZSTD_createDStream()
        try:
            while output.pos < size:
                before = (feed.pos, output.pos)
                code = self._lib.ZSTD_decompressStream(stream, ctypes.byref(output), ctypes.byref(feed))
                if self._lib.ZSTD_isError(code) or (feed.pos, output.pos) == before:
                    raise BadCompressedData(f"the zstd stream ends after {output.pos} of {size} bytes")
        finally:
            self._lib.ZSTD_freeDStream(stream)
        return target.raw
