"""Inflating through the system's libdeflate, if there: a third of zlib's time for a cluster.

It cannot write what QEMU reads: its deflate looks back 32 KiB, QEMU's inflate 4.
"""

from __future__ import annotations

import ctypes
import threading


class Libdeflate:
    """libdeflate, found when first needed; OSError if it is not.

    One object may serve several threads.
    """

    def __init__(self) -> None:
        self._lib = ctypes.CDLL("libdeflate.so.0")
        self._lib.libdeflate_alloc_decompressor.restype = ctypes.c_void_p
        self._lib.libdeflate_free_decompressor.argtypes = [ctypes.c_void_p]
        self._inflate = self._lib.libdeflate_deflate_decompress
        self._inflate.argtypes = [
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_void_p,
        ]
        self._own = threading.local()

    def unpack(self, source: memoryview, target: memoryview) -> bool:
        """Fill `target`; both are writable.

        False if the data do not end with it: perhaps they go on.
        """
        if (held := getattr(self._own, "held", None)) is None:
            held = self._own.held = _Context(self._lib)
        # from_buffer() needs writable memory: a view of `bytes` would have to be copied.
        into, out_of = ctypes.c_char.from_buffer(target), ctypes.c_char.from_buffer(source)
        code: int = self._inflate(
            held.pointer,
            ctypes.addressof(out_of),
            len(source),
            ctypes.addressof(into),
            len(target),
            None,
        )
        return code == 0


class _Context:
    """A thread's own, freed with it."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self.pointer = library.libdeflate_alloc_decompressor()
        if not self.pointer:
            raise MemoryError

    def __del__(self) -> None:
        self._library.libdeflate_free_decompressor(self.pointer)
