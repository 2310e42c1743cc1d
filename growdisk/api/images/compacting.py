"""Compacts an image in place: written again, checked, then put there by one rename."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from growdisk.api.guard import ConflictGuard
from growdisk.api.images.info import actual_size
from growdisk.api.images.new_file import NewFile
from growdisk.api.images.opening import opened_qcow2, report_create_errors
from growdisk.block.opening import take_flags
from growdisk.block.raw import RawFile
from growdisk.durable import sync_file
from growdisk.errors import ImageDamaged, ImageUnsupported
from growdisk.qcow2.check.checker import check
from growdisk.qcow2.named_files import real
from growdisk.qcow2.open_checks import Passphrase


def compact_image(
    path: Path, key: Passphrase | None = None, *, overlays_may_break: bool = False
) -> tuple[int, int]:
    """Give unused clusters back; snapshots and backing file stay.

    Returns the host's bytes before and after. The new image is checked by counting all its
    references before it takes the old one's place, and does that only if it is smaller.
    """
    path = real(path)  # of a link, the link stays
    guard = ConflictGuard(path, overlays_may_break)
    # Only clusters of its own are copied: the backing file is not needed.
    with opened_qcow2(path, "unused clusters", with_backing=False, key=key, guard=guard) as image:
        before = actual_size(path)
        # The image is locked: what is found sound here stays so while it is copied.
        _refuse(path)
        with report_create_errors(path, lambda: before), NewFile(path, replacing=True) as new:
            with closing(RawFile.create(new.temporary, mode=0o600)) as file:
                take_flags(new.temporary, path)  # only an empty file takes all of them
                file.write_behind()
                image.compact_into(file)
                report = check(file, new.temporary)
            if not report.is_clean:
                raise ImageDamaged(path, "qcow2", f"its copy is not sound: {report.problems[0]}")
            sync_file(new.temporary)  # only now the host knows what it takes
            if _extent(new.temporary) >= _extent(path):
                return before, before  # what the host counts of it may change while it lies there
            new.replace()
        return before, actual_size(path)


def _extent(path: Path) -> tuple[int, int]:
    """What a file takes on the host, and its length."""
    status = path.stat()
    return status.st_blocks, status.st_size


def _refuse(path: Path) -> None:
    if path.is_block_device():
        reason = "it lies on a block device, which cannot be replaced by a smaller file"
        raise ImageUnsupported(path, reason, "convert it to another place; it has not been changed")
    if path.stat().st_nlink > 1:
        raise ImageUnsupported(
            path,
            reason="the file has several names (hard links), and only one of them would be "
            "compacted",
            hint="remove the other names, or convert it; it has not been changed",
        )
    with closing(RawFile.open(path, lock=False)) as file:  # this process holds the lock
        report = check(file, path)
    if report.has_errors:
        raise ImageDamaged(path, format="qcow2", reason=report.problems[0])
