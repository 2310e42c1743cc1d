"""The guest's disk in an open qcow2 image, as a block device: its properties, bytes and closing.

Nothing is written before the first change (write_guard.py). Opening, and changes to the image as a
whole: image.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from growdisk.block.device import BlockDevice, Extent, InParts, Part, ResizableDevice, check_range
from growdisk.block.raw import RawFile
from growdisk.qcow2.header import Header
from growdisk.qcow2.image_services import ImageServices
from growdisk.qcow2.metadata import DataFile, Metadata
from growdisk.qcow2.write_guard import WriteGuard

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import Self

    from growdisk.qcow2.cluster_marks import FragmentedRun
    from growdisk.qcow2.compress import CompressedCluster
    from growdisk.qcow2.mapping import GuestRun


class VirtualDisk(InParts):
    """Implements BlockDevice for what the guest sees of one image."""

    def __init__(
        self,
        file: ResizableDevice,
        path: Path,
        header: Header,
        backing: BlockDevice | None,
        data: DataFile | None = None,
        data_file: ResizableDevice | None = None,
        *,
        writable: bool = False,
    ) -> None:
        self.path = path
        self._file, self._data_file = file, data_file
        self._reftable_clusters = header.reftable_clusters  # when it was opened
        self._metadata = Metadata(file, path, header, data, data_file)
        self._services = ImageServices(self._metadata, backing)
        if header.snapshot_count:
            # an image whose snapshot table cannot be read is refused at once
            _ = self._services.snapshots
        self._guard = WriteGuard(self._metadata, writable=writable)
        self._closed = False

    # --- what it is -------------------------------------------------------------------------------

    @property
    def header(self) -> Header:
        return self._metadata.header

    @property
    def size(self) -> int:
        return self._metadata.header.size

    @property
    def writable(self) -> bool:
        return self._guard.writable

    @property
    def has_changed(self) -> bool:
        """Whether anything of it may have been written since it was opened."""
        return self._guard.has_begun

    @property
    def backing(self) -> BlockDevice | None:
        return self._services.backing

    @property
    def is_locked(self) -> bool:
        """Whether its guest data are encrypted, and no key has opened them."""
        return self._metadata.is_locked

    @property
    def unlocked(self) -> DataFile | None:
        """The way to its encrypted guest data; None if they are not encrypted, or locked."""
        return self._metadata.data if self.header.crypt_method and not self.is_locked else None

    @property
    def host_file(self) -> BlockDevice:
        """The file in which the host offsets of `runs` count."""
        return self._file if self._data_file is None else self._data_file

    @property
    def image_file(self) -> BlockDevice:
        """The file with its tables."""
        return self._file

    @property
    def actual_size(self) -> int:
        """Bytes that the file takes on the host."""
        # stat() counts in units of 512 bytes, whatever the host's blocks are.
        return self.path.stat().st_blocks * 512

    @property
    def tables_size(self) -> int:
        """Bytes of the L2 tables there are: what a snapshot has to go through."""
        l1 = self._metadata.l1
        return (len(l1) - l1.count(0)) * self._metadata.geometry.cluster_size

    @property
    def end_of_used(self) -> int:
        """Byte offset after the last cluster in use, where append_only() puts the next one."""
        return self._metadata.allocator.end

    def metadata_ranges(self) -> Iterator[tuple[int, int]]:
        """Where in the file its tables lie, as byte ranges [start, end)."""
        bits = self.header.cluster_bits
        return (
            (cluster << bits, cluster + 1 << bits) for cluster in self._metadata.metadata_clusters()
        )

    # --- guest content ----------------------------------------------------------------------------

    def read(self, offset: int, length: int) -> bytes:
        check_range(self.size, offset, length)
        self._guard.require_readable()
        return self._services.reader.read(offset, offset + length) if length else b""

    def parts(self, offset: int, length: int) -> Iterator[Part]:
        check_range(self.size, offset, length)
        self._guard.require_readable()
        return self._services.reader.parts(offset, offset + length)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        check_range(self.size, offset, len(data))
        self._guard.begin_guest_change(offset, offset + len(data))
        self._services.writer.write(offset, memoryview(data).cast("B"))

    def check_change(self, offset: int, length: int) -> None:
        """Raise what writing this range would raise half-way through, if the image is damaged.

        Changes nothing.
        """
        check_range(self.size, offset, length)
        self._guard.refuse_guest_change()
        self._services.preflight.guest_change(offset, offset + length)

    @contextmanager
    def with_room_for(
        self, written: Iterable[tuple[int, int]], zeroed: Iterable[tuple[int, int]] = ()
    ) -> Iterator[None]:
        """Within the block these ranges can be written: the host has room for all of it.

        If it has not, OSError is raised before the first byte. Durable at the end.
        """
        self._guard.refuse_guest_change()
        self._guard.begin_change()
        # Nothing may be unwritten when clusters are taken.
        self._metadata.flush()
        allocator = self._metadata.allocator
        taken = self._services.reservation().take(written, zeroed)
        try:
            yield
            self._metadata.flush()
            self._metadata.sync()
        except BaseException:
            with suppress(OSError):
                allocator.give_back(taken)
            raise
        allocator.give_back(taken)

    def write_compressed(self, offset: int, data: bytes) -> None:
        """Store a whole cluster, or the disk's last partial one, compressed if that is smaller."""
        self.write_compressed_cluster(self._services.compressed_writer.compressed(offset, data))

    def write_compressed_cluster(self, cluster: CompressedCluster) -> None:
        """The same for a cluster that has been compressed, in any thread."""
        check_range(self.size, cluster.offset, len(cluster.data))
        self._services.compressed_writer.check(cluster)
        self._guard.begin_guest_change(cluster.offset, cluster.offset + len(cluster.data))
        self._services.compressed_writer.write(cluster)

    def write_zeros(self, offset: int, length: int) -> None:
        check_range(self.size, offset, length)
        self._guard.begin_guest_change(offset, offset + length)
        self._services.writer.write_zeros(offset, offset + length)

    def discard(self, offset: int, length: int) -> None:
        check_range(self.size, offset, length)
        self._guard.begin_guest_change(offset, offset + length)
        self._services.writer.discard(offset, offset + length)

    def flush(self) -> None:
        if self._guard.writable:
            self._metadata.flush()

    def write_behind(self, *, synced_later: bool = False) -> None:
        """Send written data to the disk at once: for a new image, which must be durable as a whole.

        `synced_later`: the caller, who made the image's own file, syncs it.
        """
        if isinstance(self._file, RawFile):
            self._file.write_behind(synced_later=synced_later)
        if isinstance(self._data_file, RawFile):
            self._data_file.write_behind()

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        check_range(self.size, offset, length)
        return self._services.reader.extents(offset, offset + length)

    def own_extents(self) -> Iterator[Extent]:
        """What this layer itself has, in order; those below are not looked at."""
        own = self._services.reader.own_extents(0, self.size)
        return (extent for extent in own if extent.depth == 0)

    def runs(self, offset: int, length: int) -> Iterator[GuestRun]:
        """The range as this layer alone has it: runs of one kind, with their places in the file."""
        check_range(self.size, offset, length)
        return self._services.mapping.runs(offset, offset + length)

    def pieces(
        self, offset: int, length: int, *, holes: bool
    ) -> Iterator[GuestRun | FragmentedRun]:
        """As `runs`, with fragmented tables whole; `holes`: with what the host has of them."""
        check_range(self.size, offset, length)
        return self._services.mapping.pieces(offset, offset + length, holes=holes)

    def used_clusters(self, limit: int) -> int:
        """How many clusters of the file are counted as used; counting ends at `limit`."""
        return self._metadata.refcounts.used(
            self._metadata.geometry.clusters(self._file.size), limit
        )

    def try_to_store_bitmaps(self) -> None:
        """The last thing before abandon(): what has changed goes into the dirty bitmaps.

        Until then, or if there is no room for it, they say that they know nothing.
        """
        if self._guard.bitmaps is not None:
            with suppress(OSError):
                self.flush()
                self._guard.bitmaps.store()

    def close(self) -> None:
        if self._closed:
            return
        try:
            if self._guard.has_begun:
                self._metadata.flush()
            # Last: only when everything written is durable may a bitmap say again that it is right.
            if self._guard.bitmaps is not None:
                self._guard.bitmaps.store()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close it without writing anything more: what is not in the file yet is lost."""
        self._closed = True
        for opened in (self._file, self._services.backing, self._data_file):
            if opened is not None:
                opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
