"""Wider refcounts for an image whose counts would overflow, switched to by one write to the header.

All references are counted again, as for a repair, and written into a new structure after everything
else; the old one is free by the same write. So a crash leaves either width whole.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from growdisk.block.device import ResizableDevice
from growdisk.errors import ImageUnsupported
from growdisk.qcow2.check.checker import Analysis, analyse
from growdisk.qcow2.header import Header, read_header
from growdisk.qcow2.header_rules import damaged
from growdisk.qcow2.rebuild import rebuild_refcounts

_USUAL_ORDER, _MAX_ORDER = 4, 6  # 16 bits, 64 bits


def widen_refcounts(file: ResizableDevice, path: Path, begin: Callable[[], None]) -> Header:
    """Give the image in `file` wider refcounts, durably; there must be nothing unwritten.

    Returns the new header. `begin`: called before the first write, after the last refusal; what it
    changes is in the file when it returns. Raises ImageUnsupported or ImageDamaged, with nothing
    written, if that is impossible.
    """
    _sound(file, path)
    begin()
    # Once more: `begin` may have dropped bitmaps, and their clusters must not be counted again.
    analysis = _sound(file, path)
    rebuild_refcounts(file, analysis, max(analysis.header.refcount_order + 1, _USUAL_ORDER))
    return read_header(file, path)


def _sound(file: ResizableDevice, path: Path) -> Analysis:
    analysis = analyse(file, path)
    header = analysis.header
    if header.version < 3 or header.refcount_order >= _MAX_ORDER:
        raise ImageUnsupported(
            path, reason=f"its refcounts of {header.refcount_bits} bits cannot be widened"
        )
    if analysis.report().has_errors:
        raise damaged(path, analysis.findings.lines[0])
    return analysis
