"""Compressed clusters: deflate without header, or zstd.

The length in an L2 entry is rounded up to sectors, so trailing bytes belong to something else and
are ignored. Both libraries let go of the interpreter while they work, so threads compress in
parallel.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from growdisk.fast_dataclass import dataclass

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from growdisk.block.compression import Zstd

Unpacker = Callable[[memoryview, memoryview], None]
Compressor = Callable[[bytes | memoryview], bytes | None]

_WINDOW_BITS = -12  # 4 KiB and no header, as QEMU writes; anything larger, QEMU would not inflate
#: QEMU takes 6 and 9: with a window of 4 KiB that is 0.4 % smaller and takes a third longer.
_LEVEL, _MEMORY_LEVEL = 5, 8


@dataclass(frozen=True)
class CompressedCluster:
    """Guest bytes `data` at `offset`; `packed`: the cluster compressed, None if not smaller."""

    offset: int
    data: bytes | memoryview
    packed: bytes | None

    @classmethod
    def of(
        cls, offset: int, data: bytes | memoryview, cluster_size: int, compress: Compressor
    ) -> CompressedCluster:
        if offset % cluster_size or not 0 < len(data) <= cluster_size:
            raise ValueError(
                f"{len(data)} bytes at {offset:#x} are not a cluster of {cluster_size:#x} bytes"
            )
        # The disk's last cluster may be cut short, and is stored as a whole one.
        whole = data if len(data) == cluster_size else bytes(data).ljust(cluster_size, b"\0")
        return cls(offset, data, compress(whole))


def unpacker(compression_type: int) -> Unpacker:
    """The function (data, buffer for a cluster) that decompresses, for a header's compression type.

    Any thread may call it. Both buffers have to be writable. It raises ValueError for data that are
    not a whole cluster. Raises ToolMissing if the library is not there.
    """
    return _inflater() if compression_type == 0 else _zstd().unpack


def compressor(compression_type: int) -> Compressor:
    """The function cluster -> fewer bytes (None if there are not fewer), or ToolMissing."""
    return deflate if compression_type == 0 else _zstd().compress


def _zstd() -> Zstd:
    from growdisk.block.compression import Zstd  # ctypes takes 2 ms: not for those who meet no zstd

    return Zstd()


def deflate(cluster: bytes | memoryview) -> bytes | None:
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL)
    packed = stream.compress(cluster) + stream.flush()
    return packed if len(packed) < len(cluster) else None


def _inflater() -> Unpacker:
    from growdisk.block.compression import Libdeflate

    try:
        library = Libdeflate()
    except OSError:
        return inflate

    def unpack(data: memoryview, cluster: memoryview) -> None:
        # Data that others have written may go on after a cluster; zlib stops there.
        if not library.unpack(data, cluster):
            inflate(data, cluster)

    return unpack


def inflate(data: memoryview, cluster: memoryview) -> None:
    """Without another library: as much as the cluster takes, whatever follows."""
    try:
        # With the largest window, which reads what was written with any.
        # Negative: raw deflate, without a header or a checksum.
        found = zlib.decompressobj(-15).decompress(data, len(cluster))
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(found) != len(cluster):
        raise ValueError(f"{len(found)} bytes instead of {len(cluster)}")
    cluster[:] = found
