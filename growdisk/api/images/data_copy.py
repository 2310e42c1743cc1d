"""Bytes from one disk to another: only what is not zeros, or a file as it is with its holes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

from growdisk.api.images.new_file import NewFile
from growdisk.api.images.opening import data_length, refuse_small_device, report_create_errors
from growdisk.api.images.pump import CHUNK, WRITTEN_CHUNK, pump
from growdisk.block.device import BlockDevice, ExtentKind, data_in
from growdisk.block.raw import RawFile
from growdisk.qcow2.compress import CompressedCluster, Compressor
from growdisk.qcow2.image import Qcow2Image
from growdisk.units import align_down, align_up, joined, split_range

SMALLEST_HOLE = 4096  # as qemu-img's -S 4k
_SOME = 64  # bytes
_CHUNK = 8 << 20

Progress = Callable[[int, int], None]  # bytes done, bytes in all
Write = Callable[[int, memoryview], None]
Sparse = Literal["auto", "always", "never"]
# guest offset, bytes, where they are not zeros
_Found = tuple[int, bytearray, list[tuple[int, int]]]


def copy_nonzero(source: BlockDevice, granule: int, write: Write, progress: Progress) -> None:
    """Write everything but zeros, in whole granules (the last may be cut), in order."""

    def look(start: int, data: bytearray) -> _Found:
        return start, data, list(nonzero_runs(data, granule))

    def store(found: _Found) -> int:
        start, data, runs = found
        for first, last in runs:
            write(start + first, memoryview(data)[first:last])
        return start + len(data)

    # pump() cuts at multiples of `chunk`: so each granule lies in one piece.
    chunk = max(WRITTEN_CHUNK, granule)
    pump(
        [source],
        widened(data_in(source, 0, source.size), granule, source.size),
        look,
        store,
        _of(source, progress),
        chunk=chunk,
        written=True,
    )
    progress(source.size, source.size)


def copy_ranges(
    source: BlockDevice, ranges: Iterable[tuple[int, int]], write: Write, progress: Progress
) -> None:
    """Write these ranges of the source as they are, in order."""

    def store(found: tuple[int, bytearray]) -> int:
        write(found[0], memoryview(found[1]))
        return found[0] + len(found[1])

    def look(start: int, data: bytearray) -> tuple[int, bytearray]:
        return start, data

    pump([source], ranges, look, store, _of(source, progress), chunk=WRITTEN_CHUNK, written=True)


def copy_into_raw(source: BlockDevice, target: RawFile, progress: Progress) -> None:
    """The same into a raw image, in granules of the smallest hole."""
    if not target.is_block_device:
        copy_nonzero(source, SMALLEST_HOLE, target.write, progress)
        return
    # A device still has what was on it, where a new file reads as zeros: it gets these as well.
    position = 0

    # Called in order: between two writes the source has nothing but zeros.
    def write(offset: int, data: memoryview) -> None:
        nonlocal position
        if position < offset:
            target.write_zeros(position, offset - position)
        target.write(offset, data)
        position = offset + len(data)

    copy_nonzero(source, SMALLEST_HOLE, write, progress)
    if position < source.size:
        target.write_zeros(position, source.size - position)


def copy_compressed(
    source: BlockDevice,
    target: Qcow2Image,
    compress: Compressor,
    progress: Progress,
    *,
    jobs: int = 0,
) -> None:
    """Compress all clusters that are not zeros, in threads, and write them in order.

    `jobs=0`: a thread per processor. The last cluster ends with the disk of `target`.
    """
    cluster_size, size = target.header.cluster_size, target.size

    def pack(start: int, data: bytearray) -> tuple[int, list[CompressedCluster]]:
        runs, packed = nonzero_runs(data, cluster_size), []
        for first, last in (cut for run in runs for cut in split_range(*run, cluster_size)):
            cluster: bytes | memoryview = memoryview(data)[first:last]
            if last - first < cluster_size:
                # The source ends here, and the target goes on: zeros follow.
                cluster = bytes(cluster).ljust(min(cluster_size, size - start - first), b"\0")
            packed.append(CompressedCluster.of(start + first, cluster, cluster_size, compress))
        return start + len(data), packed

    def store(found: tuple[int, list[CompressedCluster]]) -> int:
        for cluster in found[1]:
            target.write_compressed_cluster(cluster)
        return found[0]

    ranges = widened(data_in(source, 0, source.size), cluster_size, source.size)
    chunk = max(CHUNK, cluster_size)
    pump([source], ranges, pack, store, _of(source, progress), chunk=chunk, jobs=jobs)
    progress(source.size, source.size)


def nonzero_runs(data: bytes | bytearray, granule: int) -> Iterator[tuple[int, int]]:
    """The ranges of `data` that are not zeros, in whole granules (a multiple of 8 bytes)."""
    position = 0
    for start in _zero_granules(data, granule):
        if position < start:
            yield position, start
        position = start + granule
    if position < len(data):
        yield position, len(data)


def is_zero(data: bytearray) -> bool:
    """Whether all bytes are zeros; data that are not are nearly always recognised at once."""
    # The first bytes decide for nearly all data, before `len(data)` zeros are made to compare with.
    return not any(data[:_SOME]) and data == bytes(len(data))


def _zero_granules(data: bytes | bytearray, granule: int) -> Iterator[int]:
    """Where granules of zeros begin: the first word of each decides nearly always."""
    zeros, whole = bytes(granule), align_down(len(data), granule)
    # Of each granule the first 64-bit word ("Q"): [0] and [512] for 8192 bytes in granules of 4096.
    first_words = memoryview(data)[:whole].cast("Q")[:: granule // 8].tolist()
    if 0 in first_words:
        for index, word in enumerate(first_words):
            if not word and data.startswith(zeros, index * granule):
                yield index * granule
    if whole < len(data) and not any(memoryview(data)[whole:]):  # the last one, cut
        yield whole


def _of(source: BlockDevice, progress: Progress) -> Callable[[int], None]:
    size = source.size
    return lambda reached: progress(reached, size)


def widened(
    ranges: Iterable[tuple[int, int]], granule: int, size: int
) -> Iterator[tuple[int, int]]:
    """The ranges of a disk of `size` widened to whole granules; those that then touch are one."""
    return joined(
        (align_down(start, granule), min(align_up(end, granule), size)) for start, end in ranges
    )


# --- a file copied byte for byte, with its holes: like cp --sparse --------------------------------


def copy_image(source: Path, path: Path, sparse: Sparse, progress: Progress) -> int:
    """Copy under the reader's lock, and return the size. After a failure nothing is there.

    `sparse`: auto: holes stay holes; always: zeros become holes; never: holes become zeros.
    """
    with closing(RawFile.open(source)) as file:
        takes = (lambda: file.size) if sparse == "never" else (lambda: data_length(file))
        with report_create_errors(path, takes), NewFile(path) as new:
            # As cp does: what is private stays so.
            with closing(new.open(source.stat().st_mode & 0o666)) as copy:
                refuse_small_device(copy, file.size)
                copy.write_behind()
                _fill(file, copy, sparse, progress)
            new.publish()
            return file.size


def _fill(file: RawFile, copy: RawFile, sparse: Sparse, progress: Progress) -> None:
    if sparse == "auto" and copy.clone_from(file):
        progress(file.size, file.size)
        return
    copy.resize(file.size)
    if sparse == "always":
        copy_into_raw(file, copy, progress)
        return
    # A new file reads as zeros where nothing is written; a device shows what was on it.
    if copy.is_block_device or sparse == "never":
        for hole in file.extents(0, file.size):
            if hole.kind is ExtentKind.ZERO and sparse == "never":
                for start, end in split_range(hole.start, hole.end, _CHUNK):
                    copy.write(start, bytes(end - start))
            elif hole.kind is ExtentKind.ZERO:
                copy.write_zeros(hole.start, hole.length)
    data = data_in(file, 0, file.size)
    pieces = (piece for extent in data for piece in split_range(*extent, _CHUNK))
    for start, end in pieces:
        copy.copy_from(file, start, end - start)
        progress(end, file.size)
        # The kernel copies through the host's cache; past it the data go through our buffers.
        if copy.writes_directly:
            copy_ranges(file, pieces, copy.write, progress)
    progress(file.size, file.size)
