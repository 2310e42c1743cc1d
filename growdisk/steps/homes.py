"""A guest's homes as a step of a run sees them: read by our own engine, whoever writes to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from growdisk.filesystems.ext_tree import ExtTree
from growdisk.filesystems.fat_tree import FatTree
from growdisk.guest_systems.look import GuestMount, Home, Look, find_homes

if TYPE_CHECKING:
    from growdisk.backends.backend import Backend
    from growdisk.steps.worker_at_rest import WorkerAtRest


def homes_now(worker: WorkerAtRest) -> Look:
    """Read again if anything was written since."""
    others = worker.disk.extra_disks
    written = sum(disk.writes() for disk in (worker.disk, *others))
    backend = worker.run_backend
    if backend.homes is None or backend.homes[0] != written:
        look = find_homes(
            worker.disk,
            worker.path,
            backend.sector_size,
            backend.keyring,
            [(disk, disk.path) for disk in others],
        )
        backend.homes = (written, look)
    return backend.homes[1]


def settled_homes(worker: WorkerAtRest, backend: Backend) -> Look:
    """The same, after what only a journal or a log knew has been written where it belongs."""
    look = homes_now(worker)
    unsettled = [home for home in look.homes if not _is_settled(home)]
    for home in unsettled:
        # Mounting and unmounting replays the journal; nothing else is wanted of it.
        with backend.mounted_guest(home.root.node, home.mounts):
            pass
    return homes_now(worker) if unsettled else look


def mounts_of(look: Look, node: str) -> tuple[GuestMount, ...]:
    """Of the system on device `node`; empty if none was found."""
    return next((home.mounts for home in look.systems if home.root.node == node), ())


def _is_settled(home: Home) -> bool:
    for tree in home.paths.trees:
        if isinstance(tree, ExtTree):
            if tree.content.needs_recovery or not tree.content.clean:
                return False
        elif not isinstance(tree, FatTree):
            return False  # a log says only to its kernel whether anything is in it
    return True
