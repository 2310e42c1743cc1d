"""Which images lie on an image: overlays, overlays of those, and images that keep their data in it.

Whatever is written below an overlay makes it a mixture of two disks, and an image does not know
what lies on it. So the headers of all files in its folder are read (with Proxmox, in those of the
other machines), and where a libvirt answers, the disks of its machines and the folders of its
pools; bounded in number and time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from growdisk.errors import Refused, error_id
from growdisk.fast_dataclass import dataclass
from growdisk.qcow2.names_in_headers import Identity, identity, named_files
from growdisk.storage.proxmox import folders_beside
from growdisk.workflow.run_places import is_device_or_served

MAX_DEPTH = 200
# What is not reached within these bounds is not found: the search is a help, not a proof.
_MOST_FILES = 20_000
_SECONDS = 2.0


@dataclass(frozen=True)
class Overlay:
    """An image at `path` that lies on another; `machine`: only that libvirt machine led to it."""

    path: str
    machine: str = ""

    def __str__(self) -> str:
        return f"{self.path} (of the machine {self.machine})" if self.machine else self.path


@dataclass(frozen=True)
class Dependents:
    """Who would be harmed by a change: `overlays`, and `saved`, libvirt machines.

    The memory of these is saved.
    """

    overlays: tuple[Overlay, ...] = ()
    saved: tuple[str, ...] = ()


def overlays_on(path: Path, *, libvirt: bool = True) -> tuple[Overlay, ...]:
    """The images that lie on the image at `path`, directly or not.

    To look is not refused if Python has no module for libvirt: the folder alone is searched then.
    """
    try:
        return dependents_of(path, libvirt=libvirt).overlays
    except Refused as error:
        if error_id(error) != "libvirt-missing":
            raise
        return dependents_of(path, libvirt=False).overlays


def dependents_of(
    path: Path, *, libvirt: bool = True, apart_from: Path | None = None
) -> Dependents:
    """The images on the image at `path`, and machines that resume from saved memory with them.

    Without the overlay `apart_from` and those on it alone. `libvirt` False: only the image's own
    folder is searched.
    """
    target = identity(str(path))
    if target is None:
        return Dependents()
    search = _Search(target)
    if not is_device_or_served(path):  # its folder is /dev, or growdisk's own
        # If it is a link, overlays lie beside the link or beside the file.
        for spelling in (os.path.abspath(path), os.path.realpath(path)):  # noqa: PTH100
            search.read_folder(os.path.dirname(spelling))  # noqa: PTH120
    if libvirt:
        search.ask_libvirt()
    if apart_from is not None:
        search.leave_out(apart_from)
    return search.found()


class _Search:
    """The images that were looked at, and what they name. Each file is read once."""

    def __init__(self, target: Identity) -> None:
        self._target = target
        # Each file with those that it names. The target is in it, so that it is never read itself.
        self._named: dict[Identity, dict[Identity, str]] = {target: {}}
        self._overlays: dict[Identity, Overlay] = {}
        self._saved: list[tuple[str, str]] = []
        # None is the identity of a folder that does not exist: done already.
        self._folders: set[Identity | None] = {None}
        self._until = time.monotonic() + _SECONDS

    def read_folder(self, folder: str) -> None:
        for searched in (folder, *folders_beside(folder)):
            place = identity(searched)
            if place not in self._folders:
                self._folders.add(place)
                for path in _files(searched):
                    self._read(path)

    def ask_libvirt(self) -> None:
        """Search what libvirt knows; its library, which loads slowly, is loaded if one listens."""
        from growdisk.live.local_guests import listening

        for uri in listening():
            from growdisk.live.libvirt_domain import known_to

            # A little time for each, even if reading the folder has used all of it.
            known = known_to(uri, max(self._until - time.monotonic(), 0.1))
            for folder in known.folders:
                self.read_folder(folder)
            for machine, path in known.disks:
                self._follow(path, machine)
            self._saved += [(name, path) for name, path in known.disks if name in known.saved]

    def leave_out(self, overlay: Path) -> None:
        if (place := identity(str(overlay))) is not None:
            # What lies on it no longer leads to the target through it.
            self._named.pop(place, None)

    def found(self) -> Dependents:
        """Those that lead to the target: overlays by path, machines by name."""
        # Up the chains, a layer each time round, until no file is added.
        reached, before = {self._target}, 0
        while len(reached) > before:
            before = len(reached)
            reached |= {one for one, named in self._named.items() if not reached.isdisjoint(named)}
        found = (self._overlays[place] for place in reached - {self._target})
        saved = {machine for machine, path in self._saved if identity(path) in reached}
        return Dependents(tuple(sorted(found, key=lambda one: one.path)), tuple(sorted(saved)))

    def _follow(self, path: str, machine: str) -> None:
        """Read a whole chain, from its top down."""
        waiting, seen = [path], {self._target}
        while waiting and len(seen) <= MAX_DEPTH:
            below = self._read(waiting.pop(), machine)
            waiting += [place for named, place in below.items() if named not in seen]
            seen.update(below)

    def _read(self, path: str, machine: str = "") -> dict[Identity, str]:
        place = identity(path)
        if place is None or time.monotonic() > self._until or len(self._named) > _MOST_FILES:
            return {}
        if place not in self._named:
            self._named[place] = named_files(path)
            self._overlays[place] = Overlay(path, machine)
        return self._named[place]


def _files(folder: str) -> Iterator[str]:
    """The regular files of a folder, links to such among them; none if it cannot be read."""
    with suppress(OSError), os.scandir(folder) as entries:
        yield from (entry.path for entry in entries if _is_file(entry))


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False
