"""A qcow2 image: opening it with all its checks, and changes to it as a whole.

These are its size, its snapshots and its layers. Opening for writing repairs an image that a crash
left with its dirty bit set; nothing else is written before the first change (write_guard.py). Its
guest's bytes: virtual_disk.py.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path

from growdisk.block.device import BlockDevice, ResizableDevice
from growdisk.block.raw import RawFile
from growdisk.errors import ImageDamaged, RefcountsTooNarrow
from growdisk.fast_dataclass import replace
from growdisk.qcow2.backing import ATOMIC, open_backing, open_data_file, with_backing
from growdisk.qcow2.features import Autoclear, Incompatible
from growdisk.qcow2.header import Header, read_header
from growdisk.qcow2.image_services import ImageServices
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.open_checks import (
    Passphrase,
    refuse_cut_off,
    refuse_data_file,
    refuse_unusable,
    repaired,
    unlock_if_encrypted,
)
from growdisk.qcow2.virtual_disk import VirtualDisk

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import TypeVar

    from growdisk.qcow2.bitmap_copy import BitmapSource
    from growdisk.qcow2.create_options import Preallocation
    from growdisk.qcow2.metadata import DataFile
    from growdisk.qcow2.open_checks import Passphrase
    from growdisk.qcow2.snapshots import SnapshotInfo

    Result = TypeVar("Result")
    Guard = Callable[[BlockDevice, Header], None]


class Qcow2Image(VirtualDisk):
    """An open qcow2 image: the guest's disk, and operations on the image as a whole."""

    @classmethod
    def open(
        cls,
        path: Path,
        above: tuple[Path, ...] = (),
        *,
        writable: bool = False,
        with_backing: bool = True,
        key: Passphrase | None = None,
        guard: Guard | None = None,
    ) -> Qcow2Image:
        """Open an image file under QEMU's locks.

        `above`: the layers that it was found through. `with_backing=False`: for metadata only,
        bytes may be missing. `guard` is shown the locked file and its header before anything is
        written, and may refuse.

        `key`: the passphrase of every encrypted layer; without it such an image has its metadata
        only. Raises WrongKey, ImageNotReadable, ImageInUse, ImageDamaged or ImageUnsupported; the
        file is untouched then.
        """
        file = RawFile.open(path, writable=writable)
        backing: BlockDevice | None = None
        data_file: RawFile | None = None
        try:
            header = read_header(file, path)
            refuse_unusable(header, path, writable=writable)
            if guard is not None:
                # After the locks, before a dirty image is repaired: the guard may refuse, and that
                # must change nothing.
                guard(file, header)
            data_file = open_data_file(path, header, writable=writable)
            if with_backing:
                backing = open_backing(path, header, above, partial(cls.open, key=key))
            image = cls.over(
                file, path, writable=writable, backing=backing, key=key, data_file=data_file
            )
            if guard is not None:
                # A mark that it lets pass is of a run that never began: the first change clears it.
                image._guard.kept &= ~Autoclear.GROWDISK_RUN
            return image
        except BaseException:
            for opened in (file, backing, data_file):
                if opened is not None:
                    opened.close()
            raise

    @classmethod
    def over(
        cls,
        file: ResizableDevice,
        path: Path,
        *,
        writable: bool,
        backing: BlockDevice | None = None,
        key: Passphrase | None = None,
        data_file: ResizableDevice | None = None,
        data: DataFile | None = None,
    ) -> Qcow2Image:
        """The same on files that are open already.

        The image closes `file`, `backing` and `data_file` with itself. `data`: what was unlocked
        before (VirtualDisk.unlocked), instead of a key: trying a key takes seconds.
        """
        header = read_header(file, path)
        refuse_unusable(header, path, writable=writable)
        refuse_data_file(header, path, data_file, writable=writable)
        # Before the repair: a wrong key must leave the file as it was.
        data = data or unlock_if_encrypted(file, header, path, key, data_file)
        if writable:
            header = repaired(file, header, path)
        image = cls(file, path, header, backing, data, data_file, writable=writable)
        if writable:
            refuse_cut_off(image._services)
            # Last: an image that is refused keeps its bit.
            image._metadata.set_dirty_bit(dirty=False)
        return image

    def refuse_unwritable(self) -> None:
        """ImageDamaged where opening it to write would be refused; reads only."""
        # A dirty one is repaired first, which may mend all of it.
        if not self.header.has(Incompatible.DIRTY):
            refuse_unusable(self.header, self.path, writable=True)
            refuse_cut_off(self._services)

    # --- size and snapshots -----------------------------------------------------------------------

    def resize(
        self, size: int, *, preallocation: Preallocation = "off", upgrade: bool = False
    ) -> None:
        """Change the virtual size, durably. New space reads as zeros, whatever was there before.

        `upgrade`: make a version 2 image version 3 before, so that its snapshots do not stand
        against it.
        """
        self._services.resizer.check(size, preallocation, upgrade=upgrade)
        self._services.preflight.resizing(size)
        if upgrade:
            self.upgrade()
        old, l1_size = self.size, self.header.l1_size
        self._guard.begin_whole_change(size)
        try:
            self._services.resizer.resize(size, preallocation)
        except (OSError, KeyboardInterrupt):
            with suppress(OSError, ImageDamaged):  # the first failure is the one to report
                # Only a growth is taken back. A shrink has published its size: what it left beyond
                # the end does no harm there.
                if size > old:
                    self.forget_unwritten()
                    self._services.resizer.drop_failed_growth(l1_size)
                    self.give_back_tables()
                    self._take_header(self.header)
            raise
        self._guard.end_whole_change(old)

    def snapshots(self) -> tuple[SnapshotInfo, ...]:
        """The internal snapshots, oldest first."""
        return self._services.snapshots.infos()

    def create_snapshot(self, name: str, *, like: SnapshotInfo | None = None) -> SnapshotInfo:
        """Keep the present state, durably; it appears by one header write.

        `like`: with that one's id and dates.
        """
        self._guard.refuse_snapshots()
        return self._counted_wide(
            lambda: self._services.snapshots.create(name, self._guard.begin_change, like)
        )

    def snapshot_view(self, name: str, *, by_id: bool = False) -> Qcow2Image:
        """A snapshot's disk, at its own size and for reading only.

        Good while this image is open and unchanged.
        """
        entry, l1 = self._services.snapshots.load(name, by_id=by_id)
        header = replace(
            self.header,
            size=entry.disk_size(self.header.size),
            l1_size=entry.l1_size,
            l1_offset=entry.l1_offset,
        )
        view = Qcow2Image(self._file, self.path, header, self._services.backing, self.unlocked)
        # A snapshot's table may be shorter than its disk: nothing is allocated there.
        missing = header.geometry.l1_entries(header.size) - len(l1)
        view._metadata.replace_l1(l1 + array("Q", bytes(8 * max(missing, 0))))
        return view

    def apply_snapshot(self, name: str, *, by_id: bool = False) -> None:
        """Go back to a snapshot, its virtual size included, durably. The snapshot stays."""
        self._guard.refuse_snapshots()
        old, new = self.size, self._services.snapshots.find(name, by_id=by_id).disk_size(self.size)
        begin = partial(self._guard.begin_whole_change, new)
        with self._metadata.giving_back():
            self._counted_wide(lambda: self._services.snapshots.apply(name, begin, by_id=by_id))
        self._guard.end_whole_change(old, all_bytes=True)

    def delete_snapshot(self, name: str, *, by_id: bool = False) -> None:
        """Forget a snapshot and free what only it needed, durably."""
        self._guard.refuse_snapshots()
        with self._metadata.giving_back():
            self._services.snapshots.delete(name, self._guard.begin_change, by_id=by_id)

    # --- without any room on the host -------------------------------------------------------------

    def forget_newest_snapshots(self, names: Collection[str]) -> None:
        """Forget the snapshots at the end of the list that have these names, durably."""
        with self._metadata.giving_back():
            self._services.reverter.forget(
                self._services.reverter.last_of(names), self._guard.begin_change
            )

    def revert_to(self, name: str, newer: Collection[str]) -> bool:
        """As apply_snapshot(), and delete that snapshot and all newer ones.

        False if these are not all in `newer`.
        """
        position = self._services.snapshots.entries.index(self._services.snapshots.find(name))
        if self._services.reverter.last_of(
            {name, *newer}
        ) > position or not self._services.reverter.can_revert(position):
            return False
        old, new = self.size, self._services.snapshots.entries[position].disk_size(self.size)
        with self._metadata.giving_back():
            self._services.reverter.revert(position, partial(self._guard.begin_whole_change, new))
        self._guard.end_whole_change(old, all_bytes=True)
        return True

    def append_only(self) -> None:
        """From now on put new clusters after all used ones, also if there are free ones before."""
        self._metadata.allocator.append_only = True

    def forget_unwritten(self) -> None:
        """Drop unwritten changes and continue from the file, as after a crash: with a repair."""
        from growdisk.qcow2.repair import reread

        header, is_sound = reread(self._file, self.path)
        self._take_header(header)
        if is_sound:
            self._metadata.allocator.give_back_all()

    def give_back_tables(self) -> None:
        """Give back what the refcounts have taken since the opening and do not need.

        There must be nothing unwritten.
        """
        from growdisk.qcow2.rebuild import shorten_table

        self._metadata.drop_empty_blocks()
        if self.header.reftable_clusters > self._reftable_clusters:
            self._take_header(self.header)
            shorten_table(self._metadata, self._reftable_clusters)

    def _counted_wide(self, action: Callable[[], Result]) -> Result:
        """Call `action`; while the refcounts are too narrow for it, widen them and call it again.

        It must refuse before its first write. Version 2 has one width, and 64 bits are enough for
        everything.
        """
        while True:
            try:
                return action()
            except RefcountsTooNarrow:
                if self.header.version < 3 or self.header.refcount_bits == 64:
                    raise
            from growdisk.qcow2.rebuild import widen_refcounts

            self._take_header(widen_refcounts(self._file, self.path, self._begin_and_flush))

    def _begin_and_flush(self) -> None:
        self._guard.begin_change()
        self._metadata.flush()

    def _take_header(self, header: Header) -> None:
        """Go on with tables that were replaced in the file; there must be nothing unwritten."""
        self._metadata = Metadata(self._file, self.path, header, self.unlocked, self._data_file)
        self._services = ImageServices(self._metadata, self._services.backing)
        self._guard.take_over(self._metadata)

    def upgrade(self) -> None:
        """Make a version 2 image version 3, durably: its snapshots then know their sizes."""
        if self.header.version >= 3:
            return
        from growdisk.qcow2.upgrade import version_3_layout, write_version_3

        version_3_layout(self._metadata)  # refuses before anything is written
        self._metadata.flush()
        # What version 2 reserves may mean something to version 3.
        self._services.refuse_damaged_tables()
        self._services.snapshots.complete(self._guard.begin_change)
        self._guard.begin_change()
        write_version_3(self._metadata)
        self._take_header(self.header)

    # --- layers -----------------------------------------------------------------------------------

    def check_make_empty(self) -> None:
        """Raise what make_empty() would raise, if the image is damaged. Changes nothing."""
        self._services.preflight.dropping_beyond(0)

    def make_empty(self) -> None:
        """Drop all guest data of this layer, durably: the backing file shows.

        Its clusters are freed.
        """
        self.check_make_empty()
        self._guard.begin_change()
        with self._metadata.giving_back():
            self._services.resizer.drop_tables_beyond(0)

    def compact_into(self, file: ResizableDevice) -> None:
        """Write this image, snapshots and all, into an empty file, without its unused clusters.

        Nothing is synced.
        """
        self._metadata.flush()
        manager = self._services.snapshots
        tables = [self._metadata.l1, *manager.l1_tables(manager.entries)]
        from growdisk.qcow2.compact import Compactor

        Compactor(self._metadata, self._services.walker, manager.entries, tables).write_to(file)

    def exchange_backing(self, backing: BlockDevice | None) -> BlockDevice | None:
        """Read through to another device from now on; the header is not changed.

        Returns the old one, not closed.
        """
        old, self._services.backing = self._services.backing, backing
        self._services.reader.backing = backing
        return old

    def record_backing(self, name: str | None, backing_format: str | None) -> None:
        """Write another backing file into the header, durably.

        Nobody compares what the guest sees.
        """
        # refuses before anything is written
        with_backing(self.header, self.path, name, backing_format)
        self._begin_and_flush()
        # Once more, because the first change may have cleared autoclear bits of the header.
        header = with_backing(self.header, self.path, name, backing_format)
        old, new = self.header.to_bytes(), header.to_bytes()
        if len(new) > ATOMIC:  # a name as long as that may tear
            self._metadata.write_header(header, 0, new.ljust(len(old), b"\0"))
            return
        self._metadata.write_header(header, 0, new.ljust(ATOMIC, b"\0"))
        if len(old) > ATOMIC:  # only now: until then it may have been the old name
            self._file.write(ATOMIC, bytes(len(old) - ATOMIC))

    def bitmap_source(self) -> BitmapSource | None:
        """The persistent dirty bitmaps, to add to another image of this size; None if not valid."""
        from growdisk.qcow2.bitmap_copy import BitmapSource
        from growdisk.qcow2.bitmaps import read_directory

        directory = read_directory(self._file, self.header)
        return None if directory is None else BitmapSource(self._file, self.header, directory)

    def add_bitmaps(self, source: BitmapSource) -> None:
        """Take over the bitmaps of another image of the same size: for a new image without any."""
        from growdisk.qcow2.bitmap_copy import add_bitmaps

        self._metadata.flush()
        add_bitmaps(self._metadata, source)

    # --- an unfinished run ------------------------------------------------------------------------

    @property
    def has_run_mark(self) -> bool:
        """Whether the image is as an unfinished run left it: every other writer clears the mark."""
        return bool(self.header.autoclear & Autoclear.GROWDISK_RUN)

    def set_run_mark(self, *, on: bool) -> None:
        """Set or clear the mark, durably. Version 3 only."""
        self._guard.begin_change()
        mark = int(Autoclear.GROWDISK_RUN)
        self._guard.set_autoclear(
            self.header.autoclear | mark if on else self.header.autoclear & ~mark
        )


def opened_as_backing(
    path: Path, header: Header, key: Passphrase | None = None
) -> BlockDevice | None:
    """The opened backing file of an image at `path`, as `header` (not the file's own) names it."""
    return open_backing(path, header, (), partial(Qcow2Image.open, key=key))
