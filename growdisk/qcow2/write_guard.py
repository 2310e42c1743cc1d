"""Write guard: refuses changes that an image does not allow, and prepares the first one.

Dirty bitmaps are kept true (bitmap_tracker.py). Those that cannot be believed are dropped before
the first change, as the specification asks of all autoclear data that a writer does not know.
"""

from __future__ import annotations

from growdisk.errors import KeyNeeded
from growdisk.qcow2.features import Autoclear
from growdisk.qcow2.header import FEATURES
from growdisk.qcow2.header_fields import LEGACY_AES
from growdisk.qcow2.metadata import Metadata

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from growdisk.qcow2.bitmap_tracker import BitmapTracker

# RAW_DATA_FILE stays true by itself: writer.py stores all guest bytes, zeros too, in that file.
_KEPT_UP_TO_DATE = Autoclear.GROWDISK_RUN | Autoclear.RAW_DATA_FILE


class WriteGuard:
    """Knows whether an image may be changed, and whether that has begun."""

    def __init__(self, metadata: Metadata, *, writable: bool) -> None:
        self._metadata = metadata
        self.writable, self.has_begun = writable, False
        self.bitmaps: BitmapTracker | None = None  # known when a change has begun
        self.kept = _KEPT_UP_TO_DATE  # autoclear bits that no change clears

    def take_over(self, metadata: Metadata) -> None:
        """Go on with the metadata of the same image, which have been read again."""
        self._metadata = metadata
        if self.bitmaps is not None:
            self.bitmaps.metadata = metadata

    def require_readable(self) -> None:
        """Refuse guest bytes that cannot be decrypted."""
        if self._metadata.is_locked:
            raise KeyNeeded(self._metadata.path)

    def refuse_guest_change(self) -> None:
        """Refuse guest bytes that cannot be encrypted."""
        self.require_readable()
        if self._metadata.header.crypt_method == LEGACY_AES:
            raise self._metadata.unsupported(
                "it is encrypted in the legacy AES form, which growdisk reads and never writes",
                "convert it (growdisk image convert); growdisk has not changed it",
            )

    def begin_guest_change(self, start: int, end: int) -> None:
        """Before the guest bytes [start, end) are written."""
        self.refuse_guest_change()
        if not self.has_begun:
            self.begin_change()
        if self.bitmaps is not None:
            self.bitmaps.begin()
            self.bitmaps.mark(start, end)

    def begin_whole_change(self, size: int) -> None:
        """Before the disk gets this size, or all its bytes change; end_whole_change() follows."""
        self.begin_change()
        if self.bitmaps is not None:
            self.bitmaps.check_size(size)
            self.bitmaps.begin(everything=True)

    def end_whole_change(self, old_size: int, *, all_bytes: bool = False) -> None:
        """The disk had `old_size`; `all_bytes`: any byte of it may be another."""
        size = self._metadata.header.size
        if self.bitmaps is None:
            return
        if size != old_size:
            self.bitmaps.resized(size)
        if all_bytes:
            self.bitmaps.mark(0, size)

    def begin_change(self) -> None:
        """Before the first change: autoclear bits stand for data that we do not keep up to date."""
        if not self.writable:
            raise ValueError(f"{self._metadata.path} is open for reading only")
        if not self.has_begun and self._metadata.header.autoclear & ~self.kept:
            # Once: afterwards the other bits are clear, or BitmapTracker keeps them true.
            self._keep_bitmaps()
        self.has_begun = True

    def refuse_snapshots(self) -> None:
        """What lies in a data file exists once."""
        if self._metadata.data_file is not None:
            raise self._metadata.unsupported(
                "its data lie in an external data file, where nothing can be kept twice",
                "make an overlay instead; growdisk has not changed it",
            )

    def set_autoclear(self, bits: int) -> None:
        """Write other autoclear bits into the header, durably."""
        header = self._metadata.header
        if header.version < 3:
            raise self._metadata.unsupported("a version 2 image has no feature bits")
        if bits != header.autoclear:
            self._metadata.change_header(FEATURES, autoclear=int(bits))

    def _keep_bitmaps(self) -> None:
        """Keep the bitmaps that can be kept, and drop what other autoclear bits stand for."""
        from growdisk.qcow2.bitmap_tracker import BitmapTracker  # few images have any

        self.bitmaps = BitmapTracker.of(self._metadata)
        if self.bitmaps is None:
            self._drop_autoclear_data()
        else:
            # Bits of features that are not known here go; what the bitmaps need stays.
            self.set_autoclear(self._metadata.header.autoclear & (self.kept | Autoclear.BITMAPS))

    def _drop_autoclear_data(self) -> None:
        """Clear the autoclear bits, then free the bitmaps: so that no freed cluster is used."""
        from growdisk.qcow2.bitmaps import bitmap_runs  # few images have any

        # Before anything is written: a refusal must leave the bits and the bitmaps as they were.
        self._metadata.allocator.check_metadata()
        header = self._metadata.header
        bitmaps = bitmap_runs(self._metadata.file, header)
        self.set_autoclear(header.autoclear & self.kept)
        # A directory that cannot be right loses its bit all the same, but frees nothing: better a
        # leak than a cluster that is in use.
        theirs = all(
            self._metadata.allocator.metadata_in(first, count) is None for first, count in bitmaps
        )
        if theirs and self._metadata.refcounts.first_outside(bitmaps, 1, 1) is None:
            self._metadata.release(bitmaps)
