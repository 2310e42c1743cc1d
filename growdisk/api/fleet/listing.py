"""The list: which disks, looked at by several processes, running guests asked, overlays found. Reads only.

A process each for a share of the images: what is to be done is computing, and libparted keeps state of its own. They
are forked before anything here has threads.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from growdisk.api.fleet.looking import look_at_image
from growdisk.api.fleet.paths import images_in
from growdisk.api.fleet.values import DiskEntry
from growdisk.errors import GrowdiskError, error_document
from growdisk.fast_dataclass import dataclass, replace

_ALONE = 24  # images that one process has looked at before others have started
_SHARE = 8  # images that a process is given at once
_LIVE = ("running", "in use")


@dataclass(frozen=True)
class Wanted:
    """Images by path, glob or folder; machines of libvirt by name or glob, or all of them."""

    paths: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    all_domains: bool = False
    uri: str | None = None


def list_disks(wanted: Wanted) -> list[DiskEntry]:
    """An entry for each disk, as named, machines last. LibvirtUnreachable, where machines are asked for."""
    entries = [DiskEntry(path, path) for path in images_in(wanted.paths)]
    if wanted.domains or wanted.all_domains:
        entries += _of_machines(wanted)
    looked = _looked(entries)
    return _with_overlays(_with_guests(looked, wanted.uri))


def _of_machines(wanted: Wanted) -> Iterator[DiskEntry]:
    from growdisk.live.libvirt_domain import DomainUnknown, known_machines

    machines, uri = known_machines(wanted.uri), wanted.uri or "its default"
    for pattern in () if wanted.all_domains else wanted.domains:
        if not any(fnmatchcase(machine.name, pattern) for machine in machines):
            known = ", ".join(machine.name for machine in machines) or "none"
            error: GrowdiskError = DomainUnknown(pattern, uri=uri, known=known)
            yield DiskEntry(pattern, domain=pattern, error=error_document(error))
    for machine in machines:
        if wanted.all_domains or any(fnmatchcase(machine.name, pattern) for pattern in wanted.domains):
            for disk in machine.disks:
                name = machine.name if len(machine.disks) == 1 else f"{machine.name}:{disk.target}"
                yield DiskEntry(name, disk.file, machine.name, disk.target, "running" if machine.running else "off")


def _looked(entries: Sequence[DiskEntry]) -> list[DiskEntry]:
    if len(entries) < _ALONE:
        return [_look(entry) for entry in entries]
    workers = min(os.cpu_count() or 1, 8)
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return list(pool.imap(_look, entries, _SHARE))


def _look(entry: DiskEntry) -> DiskEntry:
    if entry.error is not None:
        return entry
    if not entry.path:
        return replace(entry, note="its disk is not a file of this host")
    return look_at_image(entry.path, entry)


def _with_guests(entries: list[DiskEntry], uri: str | None) -> list[DiskEntry]:
    places = [number for number, entry in enumerate(entries) if entry.state in _LIVE]
    if not places:
        return entries
    from growdisk.api.fleet.running import ask_guests, with_guest

    told = ask_guests([entries[number] for number in places], uri)
    disks = Counter(entry.domain for entry in entries if entry.domain)
    for place, answer in told.items():
        entry = entries[places[place]]
        entry = entry if isinstance(answer, str) else replace(entry, state="running", error=None)
        entries[places[place]] = with_guest(entry, answer, alone=disks[entry.domain] <= 1)
    return entries


def _with_overlays(entries: Sequence[DiskEntry]) -> list[DiskEntry]:
    """What lies directly on each, among the files of their folders: each header is read once."""
    from growdisk.qcow2.names_in_headers import identity, named_files

    folders = {os.path.dirname(os.path.realpath(entry.path)) for entry in entries if entry.path}  # noqa: PTH120
    above = defaultdict(list)
    for path in (path for folder in sorted(folders) for path in _files(folder)):
        for below in named_files(path):
            above[below].append(path)
    if not above:
        return list(entries)
    found = ((entry, above.get(identity(entry.path) or (0, 0), [])) for entry in entries)
    return [replace(entry, overlays=tuple(over)) if over else entry for entry, over in found]


def _files(folder: str) -> Iterable[str]:
    if folder.startswith("/dev"):
        return ()
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if entry.is_file(follow_symlinks=False))
    except OSError:
        return ()
