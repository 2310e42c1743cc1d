"""Copies persistent dirty bitmaps: moved with their clusters, or written into another image."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import replace
from growdisk.qcow2.bitmaps import ALL_ONES, Bitmap, Directory, directory_runs, read_bitmap_table
from growdisk.qcow2.entries import OFFSET_MASK
from growdisk.qcow2.features import Autoclear
from growdisk.qcow2.header import Header
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.tables import dump_table


class MovedBitmaps:
    """All bitmaps of an image as they will lie one after the other from cluster `first` on."""

    def __init__(self, file: BlockDevice, header: Header, directory: Directory) -> None:
        self._file, self._header, self._directory = file, header, directory
        runs = directory_runs(file, header, directory.bitmaps)
        self.clusters = sum(count for _, count in runs)

    def placed(self, first: int) -> tuple[Directory, Iterator[tuple[int, bytes]]]:
        """The directory at its new place, and what has to be written, as (offset, bytes)."""
        bits, geometry = self._header.cluster_bits, self._header.geometry
        place = first + geometry.clusters(len(self._directory.to_bytes()))
        bitmaps, tables = [], []
        for bitmap in self._directory.bitmaps:
            bitmaps.append(replace(bitmap, table_offset=place << bits))
            place += geometry.clusters(8 * bitmap.table_size)
            words = read_bitmap_table(self._file, bitmap)
            tables.append((bitmaps[-1], words, place))
            # Stretches that are all 0 or all 1 have no cluster: the table's word says so itself.
            place += sum(1 for word in words if word & OFFSET_MASK)
        directory = Directory(first << bits, tuple(bitmaps))
        return directory, self._writes(directory, tables)

    def _writes(
        self, directory: Directory, tables: list[tuple[Bitmap, array[int], int]]
    ) -> Iterator[tuple[int, bytes]]:
        yield directory.offset, directory.to_bytes()
        bits = self._header.cluster_bits
        for bitmap, words, place in tables:
            moved = words[:]
            for index, word in enumerate(words):
                if word & OFFSET_MASK:
                    moved[index] = place << bits
                    data = self._file.read(word & OFFSET_MASK, self._header.cluster_size)
                    yield place << bits, data
                    place += 1
            yield bitmap.table_offset, dump_table(moved)


class BitmapSource:
    """The bitmaps of an image of any cluster size, as streams of bits."""

    def __init__(self, file: BlockDevice, header: Header, directory: Directory) -> None:
        self._file, self._header = file, header
        self.bitmaps = directory.bitmaps

    def chunks(self, bitmap: Bitmap, length: int) -> Iterator[bytes | bool]:
        """The bitmap in pieces of `length` bytes; False or True if all its bits are 0 or 1."""
        words, size = read_bitmap_table(self._file, bitmap), self._header.cluster_size
        for start in range(0, len(words) * size, length):
            # `length` is the target's cluster size, which may be larger or smaller than ours.
            pieces = range(start // size, -(-(start + length) // size))
            kinds = set(words[pieces.start : pieces.stop])
            if len(kinds) == 1 and kinds <= {0, ALL_ONES}:
                yield ALL_ONES in kinds
                continue
            whole = b"".join(self._cluster(words, index) for index in pieces)
            yield whole[start % size : start % size + length]

    def _cluster(self, words: array[int], index: int) -> bytes:
        size, word = self._header.cluster_size, words[index] if index < len(words) else 0
        if word & OFFSET_MASK:
            return self._file.read(word & OFFSET_MASK, size)
        return (b"\xff" if word & ALL_ONES else b"\0") * size


def add_bitmaps(metadata: Metadata, source: BitmapSource) -> None:
    """Give a new image, that is in use nowhere yet, the bitmaps of another of its size."""
    bitmaps = tuple(_added(metadata, source, bitmap) for bitmap in source.bitmaps)
    first, _ = metadata.store_table(Directory(0, bitmaps).to_bytes())
    directory = Directory(first << metadata.geometry.cluster_bits, bitmaps)
    metadata.flush()
    # Only now, with all that it leads to on the disk, does the header name the directory.
    old = metadata.header
    header = replace(
        old,
        extensions=(directory.extension(), *old.extensions),
        autoclear=int(old.autoclear | Autoclear.BITMAPS),
    ).fitting()
    if len(header.to_bytes()) > header.cluster_size:
        raise metadata.unsupported("its header has no room for bitmaps", "use larger clusters")
    # Zeros over the rest, if the header has become shorter (fitting).
    metadata.write_header(header, 0, header.to_bytes().ljust(len(old.to_bytes()), b"\0"))


def _added(metadata: Metadata, source: BitmapSource, bitmap: Bitmap) -> Bitmap:
    bits, cluster_size = metadata.geometry.cluster_bits, metadata.geometry.cluster_size
    count = bitmap.entries_for(metadata.header.size, cluster_size)
    words = array("Q", bytes(8 * count))
    for index, chunk in zip(range(count), source.chunks(bitmap, cluster_size), strict=False):
        if isinstance(chunk, bool):
            words[index] = ALL_ONES if chunk else 0
            continue
        # A word of 0 says the same, without a cluster.
        if not any(chunk):
            continue
        words[index] = metadata.allocator.allocate(1) << bits
        metadata.file.write(words[index], chunk.ljust(cluster_size, b"\0"))
    # The table comes after the bits that it names; add_bitmaps() makes all of it durable.
    first, _ = metadata.store_table(dump_table(words))
    return replace(bitmap, table_offset=first << bits, table_size=count)
