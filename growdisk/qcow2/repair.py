"""Repairs refcounts and COPIED flags so that they agree with the references.

The order makes a crash harmless at every point, and a second repair finishes the first: refcounts
up, flags off, refcounts down, flags on, dirty bit off last. References stay as they are: an image
whose *references* are doubtful is refused, because what they name cannot be guessed. Only those
known to be zeros, or to be lost, are dropped.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from growdisk.block.device import ResizableDevice, TableReader, read_padded
from growdisk.errors import ImageDamaged
from growdisk.fast_dataclass import replace
from growdisk.qcow2 import entries
from growdisk.qcow2.check.checker import Analysis, CheckReport, analyse, fixed
from growdisk.qcow2.check.cluster_counts import ClusterCounts
from growdisk.qcow2.check.copied_flags import active_l1, mended_l2_table
from growdisk.qcow2.features import Autoclear, Incompatible
from growdisk.qcow2.header import FEATURES, Header, read_header
from growdisk.qcow2.header_fields import damaged
from growdisk.qcow2.image_services import ImageServices
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.rebuild import check_rebuild, needs_rebuild, rebuild_refcounts
from growdisk.qcow2.refblock import RefblockCodec

_SECTOR = 512


def repair(
    file: ResizableDevice, path: Path, *, errors: bool, accept_loss: bool = False
) -> CheckReport:
    """Free leaked clusters; with `errors` also raise refcounts, rebuild blocks, clear wrong flags.

    `accept_loss`, with `errors`: a file that was cut off gets its length again, and zeros for what
    is lost.

    Returns the state afterwards and what was repaired. Raises ImageDamaged, with nothing written,
    if the structure is broken. Durable when it returns; a sound image loses its dirty and its
    corrupt bit.
    """
    # What is written below makes an analysis stale, so each step begins with a new one.
    analysis = analyse(file, path)
    before = analysis.report()
    header = analysis.header
    lost = tuple(analysis.findings.cut_off) if errors else ()
    refuse_broken(analysis, errors=errors, accept_loss=accept_loss)
    if errors and before.has_errors and needs_rebuild(analysis):
        # A new structure may be too large: found out before the first write.
        check_rebuild(analysis)
    if before.leaks or (errors and before.has_errors):
        # Dirty first: if this repair dies, the next to open the image repairs it again.
        _write_features(file, header, header.incompatible | Incompatible.DIRTY)
        if errors and (analysis.findings.cut_off or analysis.findings.misplaced_zeros):
            _lengthen(file, analysis)
            _forget_misplaced_zeros(file, analysis)
            analysis = analyse(file, path)
        if errors and needs_rebuild(analysis):
            rebuild_refcounts(file, analysis)
            analysis = analyse(file, path)
        _mend(file, analysis, errors=errors)
        if errors and analysis.findings.incomplete:
            # A new snapshot table that has the disks' sizes; the counts are right by now.
            metadata = Metadata(file, path, read_header(file, path))
            ImageServices(metadata, None).snapshots.complete(lambda: None)
        analysis = analyse(file, path)
    after = analysis.report()
    # If errors are left, the bits become again what they were at first.
    sound = header.incompatible & ~(Incompatible.DIRTY | Incompatible.CORRUPT)
    wanted = header.incompatible if after.has_errors else sound
    if wanted != analysis.header.incompatible:
        _write_features(file, header, wanted)
    lost = tuple(f"{line}, was cut off with it and reads as zeros" for line in lost)
    return replace(fixed(before, after), problems=(*lost, *after.problems))


def reread(file: ResizableDevice, path: Path) -> tuple[Header, bool]:
    """(the header after the repair that the next program would begin with, if all is sound)."""
    # Errors in an image that does not call itself dirty are not of our making.
    is_dirty = read_header(file, path).has(Incompatible.DIRTY)
    try:
        is_sound = not repair(file, path, errors=is_dirty).has_errors
    except ImageDamaged:  # it was so before, or the next opening will tell
        is_sound = False
    return read_header(file, path), is_sound


def refuse_broken(analysis: Analysis, *, errors: bool, accept_loss: bool) -> None:
    """Raise ImageDamaged for what a repair of this kind cannot mend. Changes nothing."""
    findings = analysis.findings
    reason = findings.broken
    if not errors:
        reason = reason or findings.rebuild
    if not (errors and accept_loss):
        reason = reason or next(iter(findings.cut_off), None)
    if reason is not None:
        raise damaged(analysis.path, reason)


def _lengthen(file: ResizableDevice, analysis: Analysis) -> None:
    """Give a file that was cut off its length again: what it lost reads as zeros, as in QEMU."""
    size = analysis.recount.cut_off_end * analysis.header.cluster_size
    if size <= file.size:
        return
    try:
        file.resize(size)
    except OSError as error:
        reason = f"it was cut off, and cannot be made {size} bytes long again: {error.strerror}"
        raise damaged(analysis.path, reason) from error


def _forget_misplaced_zeros(file: ResizableDevice, analysis: Analysis) -> None:
    """Zero clusters whose offsets cannot be true become plain ones, which have no offset."""
    size = analysis.header.cluster_size
    for offset in analysis.recount.l2_tables if analysis.findings.misplaced_zeros else ():
        table = list(struct.unpack(f">{size // 8}Q", read_padded(file, offset, size)))
        mended = [entries.ZERO if _is_misplaced_zero(entry, size) else entry for entry in table]
        if mended != table:
            _write(file, offset, struct.pack(f">{size // 8}Q", *mended))
    file.flush()


def _is_misplaced_zero(entry: int, cluster_size: int) -> bool:
    is_zero = entry & entries.ZERO and not entry & entries.COMPRESSED
    return bool(is_zero and (entry & entries.OFFSET_MASK) % cluster_size)


def _mend(file: ResizableDevice, analysis: Analysis, *, errors: bool) -> None:
    counted = analysis.recount.counted
    if errors:
        _write_refcounts(file, analysis, max)
        # By the references, not by counts that are still too high: a flag that is right in the end
        # is not cleared first.
        _write_flags(file, analysis.header, counted, setting=False)
    # min() takes leaks away and raises no count.
    _write_refcounts(file, analysis, min)
    _write_flags(file, analysis.header, analysis.stored.counts, setting=True)


def _write_features(file: ResizableDevice, header: Header, incompatible: int) -> None:
    """Version 2 has no dirty bit: there the order alone must do."""
    if header.version < 3:
        return
    # This is a write like any other: bits of unknown features are cleared.
    autoclear = header.autoclear & (
        Autoclear.BITMAPS | Autoclear.RAW_DATA_FILE | Autoclear.GROWDISK_RUN
    )
    marked = replace(header, incompatible=int(incompatible), autoclear=int(autoclear))
    file.write(FEATURES.start, marked.to_bytes()[FEATURES])
    file.flush()


def _write_refcounts(
    file: ResizableDevice, analysis: Analysis, choose: Callable[[int, int], int]
) -> None:
    """Set every refcount inside the file to choose(refcount, references), block by block."""
    stored, counted = analysis.stored, analysis.recount.counted
    # Whole bytes of refcounts; the clusters that this adds lie beyond the file and keep their
    # numbers.
    end = -(-analysis.recount.end_cluster // 8) * 8
    for index, entry in enumerate(stored.table):
        first = index * stored.per_block
        length = min(stored.per_block, end - first)
        if not entry or length <= 0:
            continue
        old, references = stored.counts.get(first, length), counted.get(first, length)
        if old == references:  # nearly always, and quicker to tell
            continue
        new = list(map(choose, old, references))
        new[analysis.recount.end_cluster - first :] = old[analysis.recount.end_cluster - first :]
        if new != list(old):
            _write(file, entry, RefblockCodec(analysis.header.refcount_bits).pack(new))
            stored.counts.put(first, new)
    file.flush()


def _write_flags(
    file: ResizableDevice, header: Header, refcounts: ClusterCounts, *, setting: bool
) -> None:
    """Set missing COPIED flags of the active disk, or clear wrong ones."""
    tables = TableReader(file, header.cluster_size)
    done = set[int]()  # L2 tables: in a damaged image any number of L1 entries may name one
    for index, entry in enumerate(active_l1(file, header)):
        offset = entry & entries.OFFSET_MASK
        if not offset:
            continue
        is_one = refcounts[offset >> header.cluster_bits] == 1
        is_copied = bool(entry & entries.COPIED)
        if is_one == setting and is_copied != setting:
            file.write(header.l1_offset + index * 8, struct.pack(">Q", entry ^ entries.COPIED))
        if offset in done:
            continue
        done.add(offset)
        mended = mended_l2_table(tables.read(offset), header, refcounts, setting=setting)
        if mended is not None:
            _write(file, offset, mended)
    file.flush()


def _write(file: ResizableDevice, offset: int, data: bytes) -> None:
    """Write what of a table is another now; the file's last cluster may be cut short."""
    if offset + len(data) > file.size:
        file.resize(offset + len(data))
    # Unchanged sectors are not written: zeros of a table may be a hole of a full host.
    old = file.read(offset, len(data))
    for start in range(0, len(data), _SECTOR):
        part = slice(start, start + _SECTOR)
        if data[part] != old[part]:
            file.write(offset + start, data[part])
