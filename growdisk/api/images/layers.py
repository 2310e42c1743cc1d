"""External snapshots: an overlay's data given to its base, and an overlay put on another base.

    commit   base grown ─▶ data into the base, durable ─▶ overlay emptied
    rebase   what the new base shows otherwise into the overlay, durable ─▶ HEADER

At every point the overlay shows the guest what it showed before: until the last arrow its own
clusters hide the base.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import groupby, takewhile
from pathlib import Path
from typing import Literal

from growdisk.api.guard import ConflictGuard, refuse_run_below
from growdisk.api.images.comparing import differing
from growdisk.api.images.data_copy import Progress, copy_ranges, is_zero
from growdisk.api.images.opening import (
    format_of,
    open_guest_content,
    opened_qcow2,
    refuse_small_device,
    require_keys,
)
from growdisk.api.images.pump import COMPARED_CHUNK, pump
from growdisk.block.device import BlockDevice
from growdisk.block.host_blocks import reserve_ranges
from growdisk.block.raw import RawFile
from growdisk.errors import ImageUnsupported
from growdisk.qcow2.backing import with_backing
from growdisk.qcow2.entries import L2Kind
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.image import Qcow2Image, opened_as_backing
from growdisk.qcow2.named_files import backing_path, exists, real, stored_name, trusting
from growdisk.qcow2.open_checks import Passphrase
from growdisk.qcow2.probe import ImageFormat, recorded_format
from growdisk.units import GiB, align_down, align_up, joined, split_range

_NOUN = "backing file"


def commit_overlay(
    path: Path,
    progress: Progress,
    key: Passphrase | None = None,
    *,
    overlays_may_break: bool = False,
) -> Path:
    """Commit the overlay's data to its backing file, which grows if smaller, and empty it. Durable.

    Returns the backing file. What the base holds beyond the overlay's end stays there. What lies on
    the overlay sees what it saw; other overlays on the base do not.
    """
    # What lies on the overlay sees the same afterwards: it does not stand in the way.
    harmless = ConflictGuard(path, shows_the_same=True)
    # Without its backing file, which is opened below to be written to.
    with opened_qcow2(path, _NOUN, with_backing=False, key=key, guard=harmless) as overlay:
        require_keys(overlay)
        base_path, base_format = _base_of(overlay)
        guard = ConflictGuard(base_path, overlays_may_break, merging=path)
        with open_guest_content(
            base_path, base_format, writable=True, key=key, guard=guard
        ) as base:
            require_keys(base)
            # What can be refused is refused before the base changes.
            overlay.check_make_empty()
            if isinstance(base, RawFile):
                _make_room(overlay, base)
                base.write_behind()
                copy_own(overlay, base, progress)
            else:
                for start, end in _own_stretches(overlay, min(base.size, overlay.size)):
                    base.check_change(start, end - start)
                base.write_behind()
                with _room_in(overlay, base):
                    copy_own(overlay, base, progress)
            base.flush()
        # Only now that the base has it all durably: until then the overlay hides it.
        overlay.make_empty()
        progress(overlay.size, overlay.size)
        return base_path


def rebase_overlay(
    path: Path,
    name: str | None,
    backing_format: ImageFormat | None,
    progress: Progress,
    key: Passphrase | None = None,
) -> None:
    """Put the overlay on another base (None: on none) without changing what the guest sees.

    Durable. What lies on the overlay sees what it saw.
    """
    harmless = ConflictGuard(path, shows_the_same=True)
    with opened_qcow2(path, _NOUN, key=key, guard=harmless) as overlay:
        require_keys(overlay)
        name = name and stored_name(path, name)
        backing_format = _format_of_base(path, name, backing_format)
        new = _opened_base(overlay, name, backing_format, key)
        require_keys(new)
        # Any cluster may have to be written: damage is refused before the first.
        overlay.check_change(0, overlay.size)
        if overlay.header.has(Incompatible.EXTENDED_L2):
            # First, as it needs the old base below the overlay.
            _fill_mixed_clusters(overlay, new)
        overlay.write_behind()
        with ExitStack() as closed:
            # Unallocated clusters come from `new` from here on.
            if (old := overlay.exchange_backing(new)) is not None:
                closed.enter_context(closing(old))
            _keep_what_was_seen(overlay, old, new, progress)
            # Before the header names the new base: after a crash the old one is hidden in part.
            overlay.flush()
            overlay.record_backing(name, backing_format)


def rebase_unsafe(
    path: Path,
    name: str | None,
    backing_format: ImageFormat | None,
    *,
    overlays_may_break: bool = False,
) -> None:
    """Write another base into the header and trust that it shows the same.

    Neither base is opened.
    """
    guard = ConflictGuard(path, overlays_may_break)
    with opened_qcow2(path, _NOUN, with_backing=False, guard=guard) as overlay:
        name = name and stored_name(path, name)
        if name is not None and real(backing_path(path, name)) == real(path):
            reason = "an image cannot be its own backing file"
            raise ImageUnsupported(path, reason, "choose another")
        overlay.record_backing(name, _format_of_base(path, name, backing_format))


# --- commit ---------------------------------------------------------------------------------------


def _base_of(overlay: Qcow2Image) -> tuple[Path, ImageFormat]:
    """Where the overlay's data go, and in which format."""
    header = overlay.header
    if header.backing_file is None:
        reason = "it has no backing file"
        raise ImageUnsupported(
            overlay.path, reason, "name an overlay (growdisk image overlay makes one)"
        )
    # The chain is looked through first: a loop would meet our own locks.
    chain = opened_as_backing(overlay.path, header)
    if chain is not None:
        chain.close()
    path = backing_path(overlay.path, header.backing_file)
    return path, format_of(path, recorded_format(header.backing_format), writing=True)


def _own_ranges(overlay: Qcow2Image) -> Iterator[tuple[int, int, bool]]:
    """What the overlay itself decides: (start, end, whether it is zeros)."""
    for run in overlay.runs(0, overlay.size):
        if run.kind is not L2Kind.UNALLOCATED:
            yield run.start, run.end, run.kind in (L2Kind.ZERO_PLAIN, L2Kind.ZERO_ALLOCATED)


def _own_stretches(overlay: Qcow2Image, limit: int) -> Iterator[tuple[int, int]]:
    """Where the overlay has data below `limit`; pieces less than a GiB apart are one stretch."""
    # The base ends at `limit`: what it is grown by is empty, and nothing can be damaged in it.
    own = takewhile(lambda piece: piece[0] < limit, _own_ranges(overlay))
    # Each stretch costs a look at the tables. What lies in a gap is looked at for nothing.
    near = joined((start, min(end, limit) + GiB) for start, end, _ in own)
    return ((first, last - GiB) for first, last in near)


def _own(overlay: Qcow2Image, *, zeros: bool) -> Iterator[tuple[int, int]]:
    """Where the overlay has zeros, or where it has data."""
    return joined((start, end) for start, end, kind in _own_ranges(overlay) if kind is zeros)


def _make_room(overlay: Qcow2Image, base: RawFile) -> None:
    """Make a raw base long enough, with all the host's space that the commit will need."""
    # Of the file: `size` counts a last sector that it may not have whole.
    length = base.length
    refuse_small_device(base, overlay.size)
    try:
        if base.size < overlay.size:
            base.resize(align_up(overlay.size, 512))
        reserve_ranges(base, _own(overlay, zeros=False))
    except OSError:
        base.resize(length)
        raise


@contextmanager
def _room_in(overlay: Qcow2Image, base: Qcow2Image) -> Iterator[None]:
    """The same for a qcow2 base."""
    old = base.size
    with ExitStack() as held:
        try:
            if old < overlay.size:
                base.resize(align_up(overlay.size, 512))
            room = base.with_room_for(_own(overlay, zeros=False), _own(overlay, zeros=True))
            held.enter_context(room)
        except OSError:
            # As it was in size, too: overlays on it would show what they did not have.
            if base.size > old:
                base.forget_unwritten()
                base.resize(old)
            raise
        yield


def copy_own(overlay: Qcow2Image, target: BlockDevice, progress: Progress) -> None:
    """Put everything that the overlay itself has into another image."""
    # In two passes: ranges of zeros and ranges of data never overlap.
    for start, end in _own(overlay, zeros=True):
        target.write_zeros(start, end - start)
    copy_ranges(overlay, _own(overlay, zeros=False), target.write, progress)


# --- rebase ---------------------------------------------------------------------------------------


def _opened_base(
    overlay: Qcow2Image,
    name: str | None,
    backing_format: ImageFormat | None,
    key: Passphrase | None,
) -> BlockDevice | None:
    """The new base: the user himself has named it, so it may lie anywhere."""
    header = with_backing(overlay.header, overlay.path, name, backing_format)
    with trusting(*([] if name is None else [backing_path(overlay.path, name)])):
        return opened_as_backing(overlay.path, header, key)


def _format_of_base(
    path: Path, name: str | None, backing_format: ImageFormat | None
) -> ImageFormat | None:
    if name is None:
        return None
    place = backing_path(path, name)
    found = format_of(place, backing_format, writing=True)
    if exists(place):
        refuse_run_below(place)
    return found


def _fill_mixed_clusters(overlay: Qcow2Image, new: BlockDevice | None) -> None:
    """Make clusters that are the overlay's in part its own, if the new base differs around them."""
    # What is read around a subcluster comes from the old base, which has not been exchanged yet.
    old, cluster_size = overlay.backing, overlay.header.cluster_size
    for start, end in split_range(0, overlay.size, overlay.header.geometry.l2_coverage):
        mixed: set[int] = set()
        for run in list(overlay.runs(start, end - start)):
            # With subclusters such a run may begin or end within a cluster; whole ones are left to
            # _keep_what_was_seen().
            if run.kind is L2Kind.UNALLOCATED:
                edges = (align_down(run.start, cluster_size), align_down(run.end - 1, cluster_size))
                mixed.update(
                    edge for edge in edges if _differs(overlay, old, new, edge, run.start, run.end)
                )
        for cluster in sorted(mixed):
            overlay.write(cluster, overlay.read(cluster, min(cluster_size, overlay.size - cluster)))


def _differs(
    overlay: Qcow2Image,
    old: BlockDevice | None,
    new: BlockDevice | None,
    cluster: int,
    start: int,
    end: int,
) -> bool:
    """Whether [start, end) covers a cluster in part, and the two bases differ there."""
    stop = min(cluster + overlay.header.cluster_size, overlay.size)
    first, last = max(start, cluster), min(end, stop)
    return (first, last) != (cluster, stop) and _seen(old, first, last) != _seen(new, first, last)


def _keep_what_was_seen(
    overlay: Qcow2Image, old: BlockDevice | None, new: BlockDevice | None, progress: Progress
) -> None:
    """Write into the overlay what the new base would show differently, by clusters."""
    cluster_size = overlay.header.cluster_size
    ranges = joined(_worth_comparing(overlay, old, new))

    def keep(found: tuple[int, bytearray, bytearray, bool]) -> int:
        first, before, after, is_same = found
        if not is_same:
            _keep(overlay, first, before, after)
        return first + len(before)

    pump(
        [old, new],
        ranges,
        lambda first, before, after: (first, before, after, before == after),
        keep,
        lambda reached: progress(reached, overlay.size),
        chunk=max(COMPARED_CHUNK, cluster_size),
        # keep() writes into the overlay, whose table the ranges are read from.
        independent=False,
        written=True,
        unless_alike=True,
    )
    progress(overlay.size, overlay.size)


def _worth_comparing(
    overlay: Qcow2Image, old: BlockDevice | None, new: BlockDevice | None
) -> Iterator[tuple[int, int]]:
    """Where the two bases show and may differ, in whole clusters if the overlay has none of one."""
    for start, end in split_range(0, overlay.size, overlay.header.geometry.l2_coverage):
        for run in list(overlay.runs(start, end - start)):  # a list: writing changes the table
            if run.kind is L2Kind.UNALLOCATED:
                for first, last in differing(old, new, run.start, run.end):
                    unit = overlay.header.cluster_size
                    # Whole clusters, but not what the overlay has itself: that shows the same.
                    yield (
                        max(align_down(first, unit), run.start),
                        min(align_up(last, unit), run.end),
                    )


def _keep(overlay: Qcow2Image, offset: int, before: bytearray, after: bytearray) -> None:
    """Keep clusters, the first at `offset`, as before, unless the new base has the same."""

    def change(cluster: tuple[int, int]) -> Literal["none", "zeros", "data"]:
        inside = slice(cluster[0] - offset, cluster[1] - offset)
        if (seen := before[inside]) == after[inside]:
            return "none"
        return "zeros" if is_zero(seen) else "data"

    # Those after one another that need the same are one write.
    clusters = split_range(offset, offset + len(before), overlay.header.cluster_size)
    for what, alike in groupby(clusters, change):
        run = list(alike)
        start, end = run[0][0], run[-1][1]
        if what == "data":
            overlay.write(start, memoryview(before)[start - offset : end - offset])
        elif what == "zeros":
            overlay.write_zeros(start, end - start)


def _seen(base: BlockDevice | None, start: int, end: int) -> bytes:
    """What a base shows; after its end there are zeros."""
    inside = 0 if base is None else max(min(end, base.size) - start, 0)
    data = base.read(start, inside) if base is not None and inside else b""
    return data.ljust(end - start, b"\0")
