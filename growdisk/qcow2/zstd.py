"""Clusters compressed with zstd, by the system's libzstd (block/libzstd.py).

A compressed cluster may consist of several frames.
"""

from __future__ import annotations

import ctypes
import threading

from growdisk.block.libzstd import LIBRARY, ZstdBuffer, load_libzstd
from growdisk.errors import ToolMissing

_LEVEL = 3  # the library's own default, which QEMU takes


class _Decompressor:
    """A thread's own decompression context, freed with it."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library, self.context = library, library.ZSTD_createDStream()
        if not self.context:
            raise MemoryError

    def __del__(self) -> None:
        self._library.ZSTD_freeDStream(self.context)


class _Compressor:
    """A compression context and room for what comes out of it."""

    def __init__(self, library: ctypes.CDLL, size: int) -> None:
        self._library, self.size = library, size
        self.context, self.target = library.ZSTD_createCCtx(), ctypes.create_string_buffer(size)

    def __del__(self) -> None:
        self._library.ZSTD_freeCCtx(self.context)


class Zstd:
    """libzstd, found when first needed. One object may serve several threads."""

    def __init__(self) -> None:
        try:
            self._lib = load_libzstd()
        except OSError as error:
            raise ToolMissing(LIBRARY, package="libzstd1") from error
        self._lib.ZSTD_createCCtx.restype = ctypes.c_void_p
        self._lib.ZSTD_freeCCtx.argtypes = [ctypes.c_void_p]
        self._lib.ZSTD_compressCCtx.argtypes = [
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_int,
        ]
        self._lib.ZSTD_compressCCtx.restype = ctypes.c_size_t
        self._own = threading.local()  # each thread compresses with what it has used before

    def compress(self, cluster: bytes | memoryview) -> bytes | None:
        """One frame; None if it does not fit into fewer bytes."""
        size = len(cluster)
        if (workplace := getattr(self._own, "workplace", None)) is None or workplace.size < size:
            workplace = self._own.workplace = _Compressor(self._lib, size)
        target = workplace.target
        source = (
            cluster
            if isinstance(cluster, bytes)
            else ctypes.byref(ctypes.c_char.from_buffer(cluster))
        )
        # Room for one byte less than went in: what does not shrink is an error of the library's.
        code = self._lib.ZSTD_compressCCtx(
            workplace.context, target, size - 1, source, size, _LEVEL
        )
        return None if self._lib.ZSTD_isError(code) else ctypes.string_at(target, code)

    def unpack(self, source: memoryview, target: memoryview) -> None:
        """Decompress, by streaming (there may be several frames), until `target` is full."""
        if (stream := getattr(self._own, "stream", None)) is None:
            stream = self._own.stream = _Decompressor(self._lib)
        into, out_of = ctypes.c_char.from_buffer(target), ctypes.c_char.from_buffer(source)
        output = ZstdBuffer(ctypes.addressof(into), len(target), 0)
        feed = ZstdBuffer(ctypes.addressof(out_of), len(source), 0)
        self._lib.ZSTD_initDStream(stream.context)  # whatever the last cluster left
        while output.pos < output.size:
            before = (feed.pos, output.pos)
            code = self._lib.ZSTD_decompressStream(
                stream.context, ctypes.byref(output), ctypes.byref(feed)
            )
            # No progress on either side: the data are used up, and the cluster is not full.
            if self._lib.ZSTD_isError(code) or (feed.pos, output.pos) == before:
                raise ValueError(f"the zstd stream ends after {output.pos} of {output.size} bytes")
