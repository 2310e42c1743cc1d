"""An image in another format or shape: what the guest sees, without what it does not use.

The new image grows under a name of its own and appears when it is whole and durable. The internal
snapshots are taken along if that is asked for. One of them can be the source, and then has its own
size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path

from growdisk.api.images.creating import place_of_data, refuse_full_host
from growdisk.api.images.data_copy import (
    SMALLEST_HOLE,
    Progress,
    copy_compressed,
    copy_into_raw,
    copy_nonzero,
    nonzero_runs,
    widened,
)
from growdisk.api.images.new_file import NewFile
from growdisk.api.images.opening import (
    data_length,
    format_of,
    open_guest_content,
    refuse_small_device,
    refuse_without_room,
    report_create_errors,
    require_keys,
)
from growdisk.api.images.pump import CHUNK, pump, side_by_side
from growdisk.api.images.resizing import TAKING_ROOM, extend_raw, refuse_raw_preallocation
from growdisk.api.images.snapshots import Selector, is_id
from growdisk.block.device import BlockDevice
from growdisk.block.raw import RawFile
from growdisk.errors import ImageUnsupported
from growdisk.fast_dataclass import dataclass
from growdisk.qcow2.bitmap_copy import BitmapSource
from growdisk.qcow2.compress import compressor
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions, Preallocation
from growdisk.qcow2.entries import L2Kind
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.mapping import GuestRun
from growdisk.qcow2.open_checks import Passphrase
from growdisk.qcow2.probe import ImageFormat
from growdisk.qcow2.snapshots import SnapshotInfo, snapshot_not_found
from growdisk.units import align_up, split_range

_SECTOR = 512


@dataclass(frozen=True)
class Source:
    """What is converted: the image, or the internal `snapshot` in it, as it was then.

    `selector`: whether `snapshot` is an id or a name; either, if None. `key` opens what is
    encrypted.
    """

    path: Path
    format: ImageFormat | None = None
    snapshot: str | None = None
    selector: Selector | None = None
    key: Passphrase | None = None

    def content(self, device: BlockDevice) -> BlockDevice:
        """What of the opened image is converted."""
        if self.snapshot is None:
            return device
        if not isinstance(device, Qcow2Image):
            raise snapshot_not_found(self.path, name=self.snapshot)
        by_id = is_id(device, self.snapshot, self.selector)
        return device.snapshot_view(self.snapshot, by_id=by_id)


@dataclass(frozen=True)
class _Material:
    """What goes into the new image; `states` are gone through to get the snapshots, if kept."""

    content: BlockDevice
    states: list[State]
    bitmaps: BitmapSource | None = None

    @property
    def size(self) -> int:
        return align_up(self.content.size, _SECTOR)


@dataclass(frozen=True)
class RawTarget:
    """A raw image to be."""

    preallocation: Preallocation = "off"

    def data_file(self, _path: Path) -> None:
        """It has none."""

    def material(self, content: BlockDevice, _device: BlockDevice, _source: Source) -> _Material:
        return _Material(content, [])

    def refuse_impossible(self, path: Path, _size: int) -> None:
        refuse_raw_preallocation(path, self.preallocation)

    def refuse_full_host(self, path: Path, size: int) -> None:
        if self.preallocation in TAKING_ROOM:
            refuse_without_room(path, path, size)

    def make(self, new: NewFile, material: _Material, progress: Progress) -> None:
        content = material.content
        with closing(new.open()) as image:
            refuse_small_device(image, material.size)
            # A device has its size.
            if not image.is_block_device:
                extend_raw(image, material.size, self.preallocation)
            image.write_behind(synced_later=True)
            copy_into_raw(content, image, progress)


@dataclass(frozen=True)
class Qcow2Target:
    """A qcow2 image to be.

    `jobs`: threads that compress, 0 for one per processor; `key`: encrypt with LUKS. `luks`: with
    this encryption header of another image instead, which one of `keys` opens.

    `bitmaps`, `keep_snapshots`: it gets the persistent dirty bitmaps, the internal snapshots of the
    source, too.
    """

    options: CreateOptions
    compress: bool = False
    jobs: int = 0
    key: bytes | None = None
    bitmaps: bool = False
    keep_snapshots: bool = False
    luks: bytes = b""
    keys: tuple[bytes, ...] = ()

    def material(self, content: BlockDevice, device: BlockDevice, source: Source) -> _Material:
        """Refused: bitmaps that are not valid, or of another state; snapshots of a snapshot."""
        bitmaps, states = self._bitmaps(device, source) if self.bitmaps else None, []
        if self.keep_snapshots and isinstance(device, Qcow2Image):
            if source.snapshot is not None:
                reason = "one snapshot has no others"
                raise ImageUnsupported(source.path, reason, "leave --keep-snapshots out")
            states = states_of(device, self.options)
        return _Material(content, states, bitmaps)

    def _bitmaps(self, device: BlockDevice, source: Source) -> BitmapSource | None:
        found = device.bitmap_source() if isinstance(device, Qcow2Image) else None
        reason = None
        if source.snapshot is not None:
            reason = "its dirty bitmaps tell of the disk as it is now, not of a snapshot"
        elif found is None:
            reason = "it has no persistent dirty bitmaps that can be read"
        elif not all(bitmap.is_sound for bitmap in found.bitmaps):
            reason = (
                "one of its dirty bitmaps is still marked as in use (its last writer died) and "
                "says nothing"
            )
        elif self.options.version < 3:
            reason = "dirty bitmaps need compat=1.1"
        if reason is not None:
            raise ImageUnsupported(source.path, reason, "leave --bitmaps out, or remove the bitmap")
        return found

    def refuse_impossible(self, path: Path, size: int) -> None:
        problem = self.options.problem(size, backed=False)
        if self.compress and self.options.preallocation != "off":
            problem = "compressed clusters cannot be preallocated"
        if self.compress and (self.key is not None or self.luks):
            problem = "an encrypted image has no compressed clusters"
        if problem is not None:
            raise ImageUnsupported(path, problem, "choose other options; nothing was written")

    def data_file(self, path: Path) -> Path | None:
        return place_of_data(path, self.options)

    def refuse_full_host(self, path: Path, size: int) -> None:
        refuse_full_host(path, size, self.options)

    def make(self, new: NewFile, material: _Material, progress: Progress) -> None:
        # With snapshots the new image begins as the oldest of them, and in its size.
        first = material.states[0][1] if material.states else material.content
        with closing(self._created(new, align_up(first.size, _SECTOR))) as image:
            # publish() syncs the file as a whole.
            image.write_behind(synced_later=True)
            if self.compress:
                compress = compressor(image.header.compression_type)
                copy_compressed(first, image, compress, progress, jobs=self.jobs)
            else:
                granule = max(image.header.cluster_size, SMALLEST_HOLE)
                copy_nonzero(first, granule, image.write, progress)
            replay(image, material.states, compress=self.compress)
            if material.bitmaps is not None:
                image.add_bitmaps(material.bitmaps)

    def _created(self, new: NewFile, size: int) -> Qcow2Image:
        create(
            new.temporary,
            size,
            self.options,
            key=self.key,
            luks=self.luks,
            synced_later=True,
            data_place=new.data_place,
        )
        with ExitStack() as opening:
            file = RawFile.open(new.temporary, writable=True)
            opening.callback(file.close)
            data_file = None
            if new.data_place is not None:
                data_file = RawFile.open(new.data_place, writable=True)
                opening.callback(data_file.close)
            key = self.key or self.keys
            image = Qcow2Image.over(
                file, new.temporary, writable=True, key=key, data_file=data_file
            )
            # From here on the image closes the files.
            opening.pop_all()
        return image


def convert_image(
    source: Source, path: Path, target: RawTarget | Qcow2Target, progress: Progress
) -> int:
    """Make `path` from what a guest sees of `source`.

    Returns its virtual size. After a failure nothing is there.
    """
    # As before a write: a *.qcow2 file with a damaged header is not taken for raw and copied.
    source_format = format_of(source.path, source.format, writing=True)
    with open_guest_content(source.path, source_format, key=source.key) as device:
        content = source.content(device)
        require_keys(content)  # refused now, also if nothing would have to be decrypted
        size = align_up(content.size, _SECTOR)
        target.refuse_impossible(path, size)
        material = target.material(content, device, source)
        with (
            report_create_errors(path, lambda: data_length(content)),
            NewFile(path, data_file=target.data_file(path)) as new,
        ):
            # Not before NewFile has removed what a killed process left there: its room is free now.
            target.refuse_full_host(path, size)
            target.make(new, material, progress)
            # After the image was closed: all of it is in the file.
            new.publish()
        return size


# --- the internal snapshots, state by state, by differences ---------------------------------------


# Two states of one image have the same bytes wherever they lead to the same host clusters.

State = tuple[SnapshotInfo | None, Qcow2Image]  # None: the disk as it is now


def states_of(image: Qcow2Image, options: CreateOptions) -> list[State]:
    """All snapshots, oldest first, and the disk as it is now.

    ImageUnsupported if one could not be kept.
    """
    infos = image.snapshots()
    reason = None
    if any(info.vm_state_size for info in infos):
        reason = (
            "a snapshot holds the state of a running machine, which only growdisk image "
            "compact keeps"
        )
    elif options.data_file and infos:
        reason = "an image with an external data file has no snapshots"
    elif options.version < 3 and any(info.size != image.size for info in infos):
        reason = "snapshots of another size need compat=1.1"
    if reason is not None:
        hint = "leave --keep-snapshots out; nothing was written"
        raise ImageUnsupported(image.path, reason, hint)
    return [*((info, image.snapshot_view(info.id, by_id=True)) for info in infos), (None, image)]


def replay(image: Qcow2Image, states: list[State], *, compress: bool) -> None:
    """Take `image` from the first state through all others, with a snapshot of all but the last."""
    for (info, before), (_, after) in pairwise(states):
        assert info is not None
        image.flush()
        # `image` shows the state `before` now.
        image.create_snapshot(info.name, like=info)
        # After the snapshot, which has the old size.
        if after.size != image.size:
            image.resize(after.size)
        _advance(image, before, after, compress=compress)


def _advance(image: Qcow2Image, before: Qcow2Image, after: Qcow2Image, *, compress: bool) -> None:
    cluster_size = image.header.cluster_size
    ranges = widened(_differing(before, after), cluster_size, after.size)

    def write(found: tuple[int, bytearray]) -> int:
        _write(image, *found, compress=compress)
        return found[0] + len(found[1])

    pump([after], ranges, lambda start, data: (start, data), write, chunk=max(CHUNK, cluster_size))


def _write(image: Qcow2Image, offset: int, data: bytearray, *, compress: bool) -> None:
    """Whole clusters (the disk's last may be cut): zeros as such, the rest as data."""
    cluster_size, position = image.header.cluster_size, 0
    # An empty run at the end, so that zeros before it are written too.
    for start, end in (*nonzero_runs(data, cluster_size), (len(data), len(data))):
        if position < start:
            image.write_zeros(offset + position, start - position)
        if compress:
            for first, last in split_range(start, end, cluster_size):
                image.write_compressed(offset + first, bytes(data[first:last]))
        else:
            image.write(offset + start, memoryview(data)[start:end])
        position = end


def _differing(before: Qcow2Image, after: Qcow2Image) -> Iterator[tuple[int, int]]:
    """The ranges of `after` that do not lead where those of `before` led."""
    shared = min(before.size, after.size)
    # Both are of one file.
    for start, end, a, b in side_by_side(before.runs(0, shared), after.runs(0, shared), 0):
        if not _is_same(a, b):
            yield start, end
    # No earlier state had it.
    if shared < after.size:
        yield shared, after.size


def _is_same(a: GuestRun, b: GuestRun) -> bool:
    if a.kind is not b.kind:
        return False
    if a.kind is L2Kind.NORMAL:
        # The two may begin at different places: what counts is where a byte of both leads.
        return a.host - a.start == b.host - b.start
    # Zeros are alike, and what neither has comes from the same backing file.
    return a.kind is not L2Kind.COMPRESSED or a.entry == b.entry
