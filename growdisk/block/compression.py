"""Compression by libraries of the system, through ctypes: libzstd and libdeflate.

libzstd is always on Debian (dpkg needs it), unlike Python modules for it.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

from growdisk.errors import ToolMissing

LIBRARY = "libzstd.so.1"
_LEVEL = 3  # the library's own default, which QEMU takes


class ZstdBuffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer have the same shape."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("pos", ctypes.c_size_t))


def load_libzstd() -> ctypes.CDLL:
    """The library, with its streaming calls declared. OSError if it is not installed."""
    library, pointer, size = ctypes.CDLL(LIBRARY), ctypes.c_void_p, ctypes.c_size_t
    # Without these, ctypes takes pointers and sizes for int and cuts them to 32 bits.
    library.ZSTD_createDStream.restype = pointer
    library.ZSTD_freeDStream.argtypes = [pointer]
    library.ZSTD_initDStream.argtypes = [pointer]
    library.ZSTD_initDStream.restype = size
    buffer = ctypes.POINTER(ZstdBuffer)
    library.ZSTD_decompressStream.argtypes = [pointer, buffer, buffer]
    library.ZSTD_decompressStream.restype = size
    library.ZSTD_isError.argtypes = [size]
    return library


class _Context:
    """What a library works with in one thread, freed with it; `target`: room for what comes out."""

    def __init__(
        self, pointer: int | None, free: Callable[[int], object], target_size: int = 0
    ) -> None:
        if not pointer:
            raise MemoryError
        self.pointer, self._free, self.size = pointer, free, target_size
        self.target = ctypes.create_string_buffer(target_size)

    def __del__(self) -> None:
        if free := getattr(self, "_free", None):
            free(self.pointer)


class Zstd:
    """Clusters of any number of zstd frames; ToolMissing without the library.

    One object may serve several threads.
    """

    def __init__(self) -> None:
        try:
            self._lib = load_libzstd()
        except OSError as error:
            raise ToolMissing(LIBRARY, package="libzstd1") from error
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        self._lib.ZSTD_createCCtx.restype = pointer
        self._lib.ZSTD_freeCCtx.argtypes = [pointer]
        text, number = ctypes.c_char_p, ctypes.c_int
        self._lib.ZSTD_compressCCtx.argtypes = [pointer, text, size, pointer, size, number]
        self._lib.ZSTD_compressCCtx.restype = size
        self._own = threading.local()  # each thread works with what it has used before

    def compress(self, cluster: bytes | memoryview) -> bytes | None:
        """One frame; None if it does not fit into fewer bytes."""
        size, context = len(cluster), getattr(self._own, "compressor", None)
        if context is None or context.size < size:
            made = self._lib.ZSTD_createCCtx()
            context = self._own.compressor = _Context(made, self._lib.ZSTD_freeCCtx, size)
        source = (
            cluster
            if isinstance(cluster, bytes)
            else ctypes.byref(ctypes.c_char.from_buffer(cluster))
        )
        # Room for one byte less than went in: what does not shrink is an error of the library's.
        code = self._lib.ZSTD_compressCCtx(
            context.pointer, context.target, size - 1, source, size, _LEVEL
        )
        return None if self._lib.ZSTD_isError(code) else ctypes.string_at(context.target, code)

    def unpack(self, source: memoryview, target: memoryview) -> None:
        """Decompress, by streaming (there may be several frames), until `target` is full."""
        if (stream := getattr(self._own, "stream", None)) is None:
            made = self._lib.ZSTD_createDStream()
            stream = self._own.stream = _Context(made, self._lib.ZSTD_freeDStream)
        into, out_of = ctypes.c_char.from_buffer(target), ctypes.c_char.from_buffer(source)
        output = ZstdBuffer(ctypes.addressof(into), len(target), 0)
        feed = ZstdBuffer(ctypes.addressof(out_of), len(source), 0)
        self._lib.ZSTD_initDStream(stream.pointer)  # whatever the last cluster left
        while output.pos < output.size:
            before = (feed.pos, output.pos)
            code = self._lib.ZSTD_decompressStream(
                stream.pointer, ctypes.byref(output), ctypes.byref(feed)
            )
            # No progress on either side: the data are used up, and the cluster is not full.
            if self._lib.ZSTD_isError(code) or (feed.pos, output.pos) == before:
                raise ValueError(f"the zstd stream ends after {output.pos} of {output.size} bytes")


class Libdeflate:
    """Inflating in a third of zlib's time for a cluster; OSError without the library.

    It cannot write what QEMU reads: its deflate looks back 32 KiB, QEMU's inflate 4. One object may
    serve several threads.
    """

    def __init__(self) -> None:
        self._lib, pointer, size = ctypes.CDLL("libdeflate.so.0"), ctypes.c_void_p, ctypes.c_size_t
        self._lib.libdeflate_alloc_decompressor.restype = pointer
        self._lib.libdeflate_free_decompressor.argtypes = [pointer]
        self._inflate = self._lib.libdeflate_deflate_decompress
        self._inflate.argtypes = [pointer, pointer, size, pointer, size, pointer]
        self._own = threading.local()

    def unpack(self, source: memoryview, target: memoryview) -> bool:
        """Fill `target`; both are writable.

        False if the data do not end with it: perhaps they go on.
        """
        if (context := getattr(self._own, "context", None)) is None:
            made = self._lib.libdeflate_alloc_decompressor()
            context = self._own.context = _Context(made, self._lib.libdeflate_free_decompressor)
        # from_buffer() needs writable memory: a view of `bytes` would have to be copied.
        into, out_of = ctypes.c_char.from_buffer(target), ctypes.c_char.from_buffer(source)
        code: int = self._inflate(
            context.pointer,
            ctypes.addressof(out_of),
            len(source),
            ctypes.addressof(into),
            len(target),
            None,
        )
        return code == 0
