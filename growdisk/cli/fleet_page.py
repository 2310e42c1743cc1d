"""The list of disks as a self-contained HTML page: no network, a little script to sort.

All names in it come from strangers: the template escapes every value, and the page's own policy
allows no other source.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from growdisk import __version__
from growdisk.api.fleet.values import DiskEntry, FileSystemUse, Stretch
from growdisk.cli.disk_lines import remarks
from growdisk.cli.output import printable
from growdisk.errors import shell_word
from growdisk.fast_dataclass import dataclass
from growdisk.host.templating import html_environment
from growdisk.planner.layout import table_words
from growdisk.units import format_size, whole_percent

_TIGHT, _FULL = 0.8, 0.9
_LEAST_WIDTH = 4.0  # percent of the page that the smallest disk has
_SIGNS = {"calm": "●", "tight": "▲", "full": "■"}


@dataclass(frozen=True)
class _BarPart:
    """`share`: of the disk, for flex; `used` in percent of the part, 0 if there is no level."""

    look: str
    share: float
    title: str
    used: float = 0.0
    grade: str = "calm"


def page(entries: Sequence[DiskEntry], now: datetime) -> str:
    """The whole page, as text."""
    # All bars share one scale: the largest disk is as wide as the page.
    largest = max((entry.virtual_size or 0 for entry in entries), default=0) or 1
    disks = [_disk(entry, largest) for entry in sorted(entries, key=lambda entry: -entry.fullness)]
    full = sum(entry.fullness > _FULL for entry in entries)
    unread = sum(entry.error is not None for entry in entries)
    summary = f"{full} above 90 %, {unread} unreadable."
    template = html_environment("growdisk.cli").get_template("list.html.j2")
    made = f"{now:%Y-%m-%d %H:%M %Z}".strip()
    return template.render(disks=disks, made=made, version=__version__, summary=summary)


def _disk(entry: DiskEntry, largest: int) -> dict[str, object]:
    """What the template shows of it."""
    size, grade, use = entry.virtual_size or 0, _grade(entry.fullness), entry.fullest
    return {
        "name": printable(entry.name),
        "order": round(entry.fullness, 4),
        "size": size,
        "idle": entry.idle,
        "level": printable(f"{use.name} {whole_percent(use.fullness)} % full") if use else "",
        "grade": grade,
        "sign": _SIGNS[grade],
        "facts": ", ".join(_facts(entry)),
        "width": round(max(100 * size / largest, _LEAST_WIDTH), 2),
        "parts": tuple(_parts(entry)),
        "remarks": [printable(remark) for remark in remarks(entry)],
        "next": printable(_next(entry)),
        "file_systems": [_row(use) for use in entry.file_systems],
        "error": entry.error is not None,
    }


def _row(use: FileSystemUse) -> dict[str, str]:
    level = f"{whole_percent(use.fullness)} %"
    name, kind = printable(use.name), printable(use.kind)
    return {"name": name, "kind": kind, "level": level, "size": format_size(use.size)}


def _grade(fullness: float) -> str:
    return "full" if fullness > _FULL else "tight" if fullness > _TIGHT else "calm"


def _facts(entry: DiskEntry) -> Iterator[str]:
    if entry.error is None:
        yield entry.state
    if entry.virtual_size is not None:
        yield entry.format
        yield table_words(entry.table)
        yield (
            f"{format_size(entry.virtual_size)} ({format_size(entry.actual_size or 0)} on the host)"
        )


def _parts(entry: DiskEntry) -> Iterator[_BarPart]:
    for stretch in entry.stretches:
        use = _use_of(entry, stretch)
        # For a mouse, and for those who have the page read to them (aria-label).
        title = printable(
            f"{stretch.name or 'idle'} {stretch.kind if stretch.name else ''} "
            f"{format_size(stretch.size)}"
        )
        share = round(stretch.size / (entry.virtual_size or 1), 5)
        # Drawn as a level; else as opaque (no level is known), or as blank (nothing is there).
        if use is not None:
            level = f"{title}, {whole_percent(use.fullness)} % full"
            yield _BarPart("", share, level, round(100 * use.fullness, 1), _grade(use.fullness))
        else:
            yield _BarPart("opaque" if stretch.name else "idle", share, title)


def _use_of(entry: DiskEntry, stretch: Stretch) -> FileSystemUse | None:
    """How full a partition is: by its name, by what the guest's agent says, by its superblock."""
    if not stretch.name:
        return None
    own = [use for use in entry.file_systems if use.name == stretch.name]
    # An agent names file systems by mount point: the one of the same kind and nearest in size is
    # taken, unless it is so much smaller that it must be another one's.
    alike = [u for u in entry.file_systems if u.kind == stretch.kind and u.source == "agent"]
    best = min(alike, key=lambda use: abs(use.size - stretch.size), default=None)
    if own or (best is not None and best.size > stretch.size // 2):
        return own[0] if own else best
    if stretch.used is None:
        return None
    return FileSystemUse(stretch.name, stretch.kind, stretch.size, stretch.used)


def _target(entry: DiskEntry) -> str:
    """How the disk is named to growdisk's commands."""
    if not entry.domain:
        return shell_word(Path(entry.path))
    # A disk is called like its machine if that has no other.
    disk = f" --disk {shlex.quote(entry.target)}" if entry.name != entry.domain else ""
    return f"-d {shlex.quote(entry.domain)}{disk}"


def _next(entry: DiskEntry) -> str:
    """What to do about it; "" if nothing has to be done."""
    target = _target(entry)
    if entry.error is not None:
        # Its error says what to do.
        is_there = entry.domain or (entry.path and Path(entry.path).exists())
        return f"growdisk show {target}" if is_there else ""
    if entry.run in ("unfinished", "kept"):
        return f"growdisk {'resume' if entry.run == 'unfinished' else 'commit'} {target}"
    if entry.fullness <= _TIGHT:
        return ""
    # Named by its file, a running guest is reached only if a way into it is said.
    if entry.state == "running" and not entry.domain:
        target += " --online agent"
    # More than a tenth of the disk is unused: filling that needs no larger disk.
    if entry.idle > (entry.virtual_size or 0) // 10:
        return f"growdisk plan {target}"
    return f"growdisk plan {target} +10G"
