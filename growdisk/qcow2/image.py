"""A qcow2 image as a block device: opening with all its checks, and the parts put together.

Opening for writing repairs an image that a crash left with its dirty bit set; nothing else is written before the first
change. Bitmaps are not kept up to date, so they are dropped before that, as the specification asks.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from growdisk.block.device import BlockDevice, Extent, ResizableDevice, check_range
from growdisk.block.raw import RawFile
from growdisk.errors import ImageUnsupported
from growdisk.qcow2.backing import open_backing, with_backing
from growdisk.qcow2.bitmaps import bitmap_runs
from growdisk.qcow2.compact import Compactor
from growdisk.qcow2.compress import CompressedCluster
from growdisk.qcow2.create_options import Preallocation
from growdisk.qcow2.data import DataFile, open_data_file
from growdisk.qcow2.features import Autoclear, Incompatible
from growdisk.qcow2.header import FEATURES_OFFSET, LEGACY_AES, Header, read_header
from growdisk.qcow2.header_rules import damaged
from growdisk.qcow2.mapping import GuestRun, Mapping
from growdisk.qcow2.packing import Packer
from growdisk.qcow2.reader import Reader
from growdisk.qcow2.repair import repair
from growdisk.qcow2.resize import Resizer
from growdisk.qcow2.snapshot_ops import SnapshotKeeper
from growdisk.qcow2.snapshots import SnapshotInfo
from growdisk.qcow2.subclusters import SubclusterMapping
from growdisk.qcow2.walk import Walker
from growdisk.qcow2.writeback import Metadata
from growdisk.qcow2.writer import Writer

_KEPT_UP_TO_DATE = Autoclear.GROWDISK_RUN | Autoclear.RAW_DATA_FILE


class Qcow2Image:
    """One open image. Implements BlockDevice for its guest-visible content."""

    def __init__(
        self, file: ResizableDevice, path: Path, header: Header, backing: BlockDevice | None,
        data: DataFile | None = None, data_file: ResizableDevice | None = None,
    ) -> None:  # fmt: skip
        self.path = path
        self._file, self._backing = file, backing
        self._data_file = data_file
        self._metadata = Metadata(file, path, header, data, data_file)
        extended = header.has(Incompatible.EXTENDED_L2)
        mapping = SubclusterMapping(self._metadata) if extended else Mapping(self._metadata)
        self._walker = walker = Walker(self._metadata, mapping)
        self._mapping = mapping
        self._reader = Reader(self._metadata, mapping, backing)
        self._writer = Writer(self._metadata, mapping, self._reader)
        self._packer = Packer(self._metadata, mapping, self._reader, self._writer)
        self._resizer = Resizer(self._metadata, mapping, self._reader, self._writer, walker)
        self._snapshots = SnapshotKeeper(self._metadata, walker)
        self._writable, self._closed, self._changing = False, False, False

    @classmethod
    def open(
        cls, path: Path, *, writable: bool = False, with_backing: bool = True, key: bytes | None = None
    ) -> Qcow2Image:
        """Open an image file under QEMU's locks. `with_backing=False`: for metadata only, bytes may be missing.

        `key`: the passphrase of every encrypted layer; without it such an image has its metadata only.
        Raises WrongKey, ImageNotReadable, ImageInUse, ImageDamaged or ImageUnsupported; the file is untouched then.
        """
        return cls._open(path, writable=writable, with_backing=with_backing, above=(), key=key)

    @classmethod
    def over(
        cls, file: ResizableDevice, path: Path, *, writable: bool, backing: BlockDevice | None = None,
        key: bytes | None = None, data_file: ResizableDevice | None = None,
    ) -> Qcow2Image:  # fmt: skip
        """The same on files that are open already. The image closes `file`, `backing` and `data_file` with itself."""
        header = read_header(file, path)
        _refuse_unusable(header, path, writable=writable)
        if header.has(Incompatible.DATA_FILE) and data_file is None:
            raise ImageUnsupported(path, reason="its data lie in an external data file")
        data = _unlocked(file, header, path, key)
        if data_file is not None and writable and data_file.size < header.size:
            raise damaged(path, "its external data file is shorter than its disk")
        if writable and header.has(Incompatible.DIRTY):
            repair(file, path, errors=True)
            header = read_header(file, path)
        image = cls(file, path, header, backing, data, data_file)
        image._writable = writable
        if writable:
            image._metadata.set_dirty_bit(dirty=False)
        return image

    @classmethod
    def _open(
        cls, path: Path, *, writable: bool, with_backing: bool, above: tuple[Path, ...], key: bytes | None
    ) -> Qcow2Image:
        file = RawFile.open(path, writable=writable)
        backing: BlockDevice | None = None
        data_file: RawFile | None = None
        try:
            header = read_header(file, path)
            _refuse_unusable(header, path, writable=writable)
            data_file = open_data_file(path, header, writable=writable)
            if with_backing:
                backing = open_backing(path, header, above, partial(cls._open_below, key=key))
            return cls.over(file, path, writable=writable, backing=backing, key=key, data_file=data_file)
        except BaseException:
            for opened in (file, backing, data_file):
                if opened is not None:
                    opened.close()
            raise

    @classmethod
    def _open_below(cls, path: Path, above: tuple[Path, ...], key: bytes | None = None) -> BlockDevice:
        return cls._open(path, writable=False, with_backing=True, above=above, key=key)

    # --- what it is -------------------------------------------------------------------------------

    @property
    def header(self) -> Header:
        return self._metadata.header

    @property
    def size(self) -> int:
        return self._metadata.header.size

    @property
    def writable(self) -> bool:
        return self._writable

    @property
    def backing(self) -> BlockDevice | None:
        return self._backing

    @property
    def host_file(self) -> BlockDevice:
        """The file in which the host offsets of `runs` count."""
        return self._file if self._data_file is None else self._data_file

    @property
    def actual_size(self) -> int:
        """Bytes that the file takes on the host."""
        return self.path.stat().st_blocks * 512

    # --- guest content ----------------------------------------------------------------------------

    def read(self, offset: int, length: int) -> bytes:
        check_range(self.size, offset, length)
        self._require_readable()
        return self._reader.read(offset, offset + length) if length else b""

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        check_range(self.size, offset, len(data))
        self._begin_guest_change()
        self._writer.write(offset, memoryview(data).cast("B"))

    def write_compressed(self, offset: int, data: bytes) -> None:
        """Store one whole cluster, or the disk's last partial one, compressed where that makes it smaller."""
        self.write_compressed_cluster(
            CompressedCluster.of(offset, data, self._packer.cluster_size, self._packer.compress)
        )

    def write_compressed_cluster(self, cluster: CompressedCluster) -> None:
        """The same for a cluster from compress_clusters(): the work of the threads is stored in order."""
        check_range(self.size, cluster.offset, len(cluster.data))
        self._packer.check(cluster)
        self._begin_guest_change()
        self._packer.write(cluster)

    def write_zeros(self, offset: int, length: int) -> None:
        check_range(self.size, offset, length)
        self._begin_guest_change()
        self._writer.write_zeros(offset, offset + length)

    def discard(self, offset: int, length: int) -> None:
        check_range(self.size, offset, length)
        self._begin_guest_change()
        self._writer.discard(offset, offset + length)

    def flush(self) -> None:
        if self._writable:
            self._metadata.flush()

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        check_range(self.size, offset, length)
        return self._reader.extents(offset, offset + length)

    def runs(self, offset: int, length: int) -> Iterator[GuestRun]:
        """The range as this layer alone has it: adjacent runs of one kind, with where they lie in the file."""
        check_range(self.size, offset, length)
        return self._mapping.runs(offset, offset + length)

    def used_clusters(self, limit: int) -> int:
        """How many clusters of the file are counted as used; counting ends at `limit`."""
        return self._metadata.refcounts.used(self._metadata.geometry.clusters(self._file.size), limit)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if self._changing:
                self._metadata.close_cleanly()
        finally:
            for opened in (self._file, self._backing, self._data_file):
                if opened is not None:
                    opened.close()

    def __enter__(self) -> Qcow2Image:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- size and snapshots -----------------------------------------------------------------------

    def resize(self, size: int, *, preallocation: Preallocation = "off") -> None:
        """Change the virtual size, durably. New space reads as zeros, whatever was there before."""
        self._resizer.check(size, preallocation)
        self._begin_change()
        self._resizer.resize(size, preallocation)

    def snapshots(self) -> tuple[SnapshotInfo, ...]:
        """The internal snapshots, oldest first."""
        return self._snapshots.infos()

    def create_snapshot(self, name: str) -> SnapshotInfo:
        """Keep the present state, durably; it appears by one header write."""
        self._refuse_snapshots()
        self._snapshots.check_new_name(name)
        self._begin_change()
        return self._snapshots.create(name)

    def snapshot_view(self, name: str, *, by_id: bool = False) -> Qcow2Image:
        """What a snapshot holds, at its own size and for reading only. Good while this image is open and unchanged."""
        entry, l1 = self._snapshots.load(name, by_id=by_id)
        header = replace(
            self.header, size=entry.disk_size(self.header.size), l1_size=entry.l1_size, l1_offset=entry.l1_offset
        )
        data = None if self._metadata.is_locked else self._metadata.data
        view = Qcow2Image(self._file, self.path, header, self._backing, data)
        missing = header.geometry.l1_entries(header.size) - len(l1)
        view._metadata.replace_l1(l1 + array("Q", bytes(8 * max(missing, 0))))
        return view

    def apply_snapshot(self, name: str, *, by_id: bool = False) -> None:
        """Go back to a snapshot, its virtual size included, durably. The snapshot stays."""
        self._refuse_snapshots()
        self._snapshots.find(name, by_id=by_id)
        self._begin_change()
        self._snapshots.apply(name, by_id=by_id)

    def delete_snapshot(self, name: str, *, by_id: bool = False) -> None:
        """Forget a snapshot and free what only it needed, durably."""
        self._refuse_snapshots()
        self._snapshots.find(name, by_id=by_id)
        self._begin_change()
        self._snapshots.delete(name, by_id=by_id)

    # --- layers -----------------------------------------------------------------------------------

    def make_empty(self) -> None:
        """Forget all guest data of this layer, durably, and give the room back: the backing file shows through."""
        self._begin_change()
        self._resizer.drop_tables_behind(0)
        self._metadata.close_cleanly()
        self._metadata.sync()
        self._metadata.allocator.trim_file()

    def compact_into(self, file: ResizableDevice) -> None:
        """Write this image, snapshots and all, into an empty file, without its unused clusters. Nothing is synced."""
        self._metadata.close_cleanly()
        snapshots = [self._snapshots.load(entry.id, by_id=True) for entry in self._snapshots.entries]
        Compactor(self._metadata, self._walker, snapshots).write_to(file)

    def exchange_backing(self, backing: BlockDevice | None) -> BlockDevice | None:
        """Read through to another device from now on; the header is not changed. Returns the old one, not closed."""
        old, self._backing = self._backing, backing
        self._reader.backing = backing
        return old

    def record_backing(self, name: str | None, backing_format: str | None) -> None:
        """Write another backing file into the header, durably. Nobody compares what the guest sees."""
        with_backing(self.header, self.path, name, backing_format)  # refuses before anything is written
        self._begin_change()
        self._metadata.flush()
        header = with_backing(self.header, self.path, name, backing_format)
        self._metadata.switch(header, 0, header.to_bytes().ljust(len(self.header.to_bytes()), b"\0"))

    # --- an unfinished run ------------------------------------------------------------------------

    @property
    def has_run_mark(self) -> bool:
        """Whether the image is as an unfinished run left it: every other writer clears the mark."""
        return bool(self.header.autoclear & Autoclear.GROWDISK_RUN)

    def set_run_mark(self, *, on: bool) -> None:
        """Set or clear the mark, durably. Version 3 only."""
        self._begin_change()
        mark = int(Autoclear.GROWDISK_RUN)
        self._set_autoclear(self.header.autoclear | mark if on else self.header.autoclear & ~mark)

    def _refuse_snapshots(self) -> None:
        if self._data_file is not None:
            raise ImageUnsupported(
                self.path, reason="its data lie in an external data file, where nothing can be kept twice",
                hint="make an overlay instead; growdisk has not changed it",
            )  # fmt: skip

    # --- guards -----------------------------------------------------------------------------------

    def _require_readable(self) -> None:
        if self._metadata.is_locked:
            raise ImageUnsupported(
                self.path, reason="it is encrypted, and its guest data need the passphrase",
                hint="give its passphrase (--key-file FILE); growdisk has not changed it",
            )  # fmt: skip

    def _begin_guest_change(self) -> None:
        self._require_readable()
        if self.header.crypt_method == LEGACY_AES:
            raise ImageUnsupported(
                self.path, reason="it is encrypted in the legacy AES form, which growdisk reads and never writes",
                hint="convert it (growdisk image convert); growdisk has not changed it",
            )  # fmt: skip
        if not self._changing:
            self._begin_change()

    def _begin_change(self) -> None:
        """Before the first change: autoclear bits tell of data that we do not keep up to date."""
        if not self._writable:
            raise ValueError(f"{self.path} is open for reading only")
        if not self._changing and self.header.autoclear & ~_KEPT_UP_TO_DATE:
            self._drop_autoclear_data()
        self._changing = True

    def _drop_autoclear_data(self) -> None:
        """Clear the bits, then free the bitmaps: in this order, so that nobody follows them any more."""
        bitmaps = bitmap_runs(self._file, self.header)
        self._set_autoclear(self.header.autoclear & _KEPT_UP_TO_DATE)
        if self._metadata.refcounts.first_outside(bitmaps, 1, 1) is None:
            self._metadata.release(bitmaps)

    def _set_autoclear(self, bits: int) -> None:
        if self.header.version < 3:
            raise ImageUnsupported(self.path, reason="a version 2 image has no feature bits")
        if bits != self.header.autoclear:
            header = replace(self.header, autoclear=int(bits))
            self._metadata.switch(header, FEATURES_OFFSET, header.features_bytes())


def backing_of(file: ResizableDevice, path: Path) -> BlockDevice | None:
    """The opened backing file of the image in `file`, or None: for images opened by `over`."""
    return open_backing(path, read_header(file, path), (), Qcow2Image._open_below)


def _unlocked(file: ResizableDevice, header: Header, path: Path, key: bytes | None) -> DataFile | None:
    """The guest data of an encrypted image, or None where there is nothing to decrypt, or no key."""
    if not header.crypt_method or key is None:
        return None
    from growdisk.qcow2.encryption import unlocked  # the library behind it is loaded for encrypted images only

    return unlocked(file, header, path, key)


def opened_as_backing(path: Path, header: Header) -> BlockDevice | None:
    """The opened backing file of an image at `path` with this header, which need not stand in the file."""
    return open_backing(path, header, (), Qcow2Image._open_below)


def _refuse_unusable(header: Header, path: Path, *, writable: bool) -> None:
    """Refuse what the format allows and growdisk cannot do."""
    if header.has(Incompatible.CORRUPT) and writable:
        raise damaged(path, "it is marked as corrupt")
    if header.has(Incompatible.DATA_FILE) and header.crypt_method:
        raise ImageUnsupported(path, reason="its data lie encrypted in an external data file")
