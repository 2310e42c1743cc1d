"""Internal snapshots taken along to another image: state by state, by differences.

Two states of one image have the same bytes wherever they lead to the same host clusters; only the
rest is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from growdisk.api.images.data_copy import nonzero_runs
from growdisk.api.images.pump import CHUNK, pump
from growdisk.errors import ImageUnsupported
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.entries import L2Kind
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.mapping import GuestRun
from growdisk.qcow2.snapshots import SnapshotInfo
from growdisk.units import align_down, align_up, joined, split_range

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
        raise ImageUnsupported(
            image.path, reason=reason, hint="leave --keep-snapshots out; nothing was written"
        )
    return [*((info, image.snapshot_view(info.id, by_id=True)) for info in infos), (None, image)]


def follow(image: Qcow2Image, states: list[State], *, compress: bool) -> None:
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
    ranges = _aligned(_differing(before, after), cluster_size, after.size)

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
    shared, start = min(before.size, after.size), 0
    # Both are of one file. Two lists of runs are walked side by side; [start, end) lies in one of
    # each.
    old, new = before.runs(0, shared), after.runs(0, shared)
    a, b = next(old, None), next(new, None)
    while a is not None and b is not None:
        end = min(a.end, b.end)
        if not _is_same(a, b):
            yield start, end
        a = next(old, None) if a.end == end else a
        b = next(new, None) if b.end == end else b
        start = end
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


def _aligned(ranges: Iterable[tuple[int, int]], unit: int, size: int) -> Iterator[tuple[int, int]]:
    """The ranges widened to whole clusters, joined where they then touch."""
    return joined(
        (align_down(start, unit), min(align_up(end, unit), size)) for start, end in ranges
    )
