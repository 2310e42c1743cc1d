"""The system's libzstd by ctypes: always on Debian (dpkg needs it), unlike Python modules.

The streaming calls that qcow2/zstd.py and filesystems/unpacking.py share.
"""

from __future__ import annotations

import ctypes

LIBRARY = "libzstd.so.1"


class ZstdBuffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer have the same shape."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("pos", ctypes.c_size_t))


def load_libzstd() -> ctypes.CDLL:
    """OSError if it is not installed."""
    library = ctypes.CDLL(LIBRARY)
    # Without these, ctypes takes pointers and sizes for int and cuts them to 32 bits.
    library.ZSTD_createDStream.restype = ctypes.c_void_p
    library.ZSTD_freeDStream.argtypes = [ctypes.c_void_p]
    library.ZSTD_initDStream.argtypes = [ctypes.c_void_p]
    library.ZSTD_initDStream.restype = ctypes.c_size_t
    library.ZSTD_decompressStream.argtypes = [
        ctypes.c_void_p,
        ctypes.POINTER(ZstdBuffer),
        ctypes.POINTER(ZstdBuffer),
    ]
    library.ZSTD_decompressStream.restype = ctypes.c_size_t
    library.ZSTD_isError.argtypes = [ctypes.c_size_t]
    return library
