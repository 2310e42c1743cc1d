"""What is done in a guest at rest: swap made again, and its own files repaired.

The guest's homes are read by our own engine; a backend writes. The same in a running guest is a
phase of its scripts (live_worker.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.block.window import Window
from growdisk.errors import ToolFailed
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import Content, SwapContent
from growdisk.filesystems.ext_tree import ExtTree
from growdisk.filesystems.fat_tree import FatTree
from growdisk.filesystems.identify import identify
from growdisk.filesystems.swap import LARGEST_PAGE, read_swap, swap_header
from growdisk.guest_config.etc_tables import FSTAB, SWAP_FILE
from growdisk.guest_config.files import Change
from growdisk.guest_config.repair import left_to_repair, repair_guest
from growdisk.guest_systems.home_repair import HomeRepair, needles_of, repairs_of
from growdisk.guest_systems.look import Home, Look, find_homes
from growdisk.guest_systems.search import search
from growdisk.steps.device_path import DevicePath
from growdisk.steps.failures import verify_failed
from growdisk.steps.guest_steps import NOTHING_NAMED
from growdisk.steps.place_at_rest import places_of
from growdisk.steps.worker import Decisions, SwapSpace

if TYPE_CHECKING:
    from growdisk.backends.direct_editor import DirectEditor
    from growdisk.backends.guest_editor import MountedGuest
    from growdisk.steps.disk import Disk
    from growdisk.steps.run_backend import Backend, RunBackend

    GuestSystem = DirectEditor | MountedGuest


@dataclass(frozen=True)
class GuestAtRest:
    """Implements GuestWorker (worker.py). `path` is the image's, for messages."""

    disk: Disk
    run_backend: RunBackend
    path: Path

    def has_swap(self, swaps: Sequence[SwapSpace]) -> bool:
        return not any(self._missing(swaps))

    def make_swap(self, swaps: Sequence[SwapSpace]) -> str:
        for swap, _ in self._missing(swaps):
            header = swap_header(swap.size, swap.uuid, swap.label, swap.page_size)
            self.disk.write(swap.start, header)
        self.disk.flush()
        return ""

    def confirm_swap(self, swaps: Sequence[SwapSpace]) -> None:
        for swap, found in self._missing(swaps):
            expected = f"swap with UUID {swap.uuid}"
            raise verify_failed("remake-swap", found=str(found), expected=expected)

    def _missing(self, swaps: Sequence[SwapSpace]) -> Iterator[tuple[SwapSpace, Content | None]]:
        """Those that are not there, and what is in their places."""
        for swap in swaps:
            content = identify(Window(self.disk, swap.start, swap.size))
            wanted = (swap.uuid, swap.label, swap.page_size)
            if not (
                isinstance(content, SwapContent)
                and (content.uuid, content.label, content.page_size) == wanted
            ):
                yield swap, content

    def swap_file_uuid(self, system: str) -> str | None:
        with self._mounted(system, "looking at the guest") as guest:
            return _swap_in(guest) if guest.exists(FSTAB) else None

    def make_swap_file(self, system: str, size: int, uuid: str, page_size: int) -> str:
        with self._mounted(system, "making the swap file") as guest:
            guest.make_swap_file(SWAP_FILE, size, uuid, page_size)
        return ""

    def confirm_swap_file(self, system: str) -> None:
        with self._mounted(system, "looking at the swap file") as guest:
            uuid = _swap_in(guest)
        if not uuid:
            raise verify_failed(
                "remake-swap", found="no swap signature", expected=f"swap in {SWAP_FILE}"
            )

    @contextmanager
    def _mounted(self, system: str, activity: str) -> Iterator[GuestSystem]:
        home = self._homes_now().system_on(system)
        mounts = home.mounts if home else ()
        places = self._places(system, *(mount.node for mount in mounts))
        with (
            self.run_backend.started(activity, places) as backend,
            backend.mounted_guest(system, mounts) as guest,
        ):
            yield guest

    def _places(self, *nodes: str) -> list[DevicePath]:
        """Those that the steps work in, and what else has to be open for `nodes` to be there."""
        backend = self.run_backend
        found = places_of(self.disk, self.path, nodes, backend.keyring, backend.sector_size)
        return [*backend.places, *found]

    def _all_places(self, system: str, others: Sequence[str]) -> list[DevicePath]:
        mounts = (mount.node for home in self._homes_now().homes for mount in home.mounts)
        return self._places(system, *others, *mounts)

    def repair(self, system: str, decisions: Decisions, others: Sequence[str]) -> str:
        """What was done, in words."""
        places = self._all_places(system, others)
        with self.run_backend.started("repairing the guest", places) as backend:
            look = self._settled_homes(backend)
            # Our readers know none of its file systems: files are changed through a mount.
            if not look.homes:
                return _repair_unread(backend, system, decisions, others)
            repairs = repairs_of(look, system, decisions)
            left = self._written(backend, decisions, repairs)
        changes = [change for repair in repairs for change in repair.changes]
        # A file system alone (a /boot, mere data) may have files to mend, and is no guest.
        return _in_words(changes, left, found=bool(changes or look.systems))

    def _written(
        self, backend: Backend, decisions: Decisions, repairs: list[HomeRepair]
    ) -> list[str]:
        """Write the repairs; what is left, in words: see _left()."""
        left: list[str] = []

        def search_again() -> None:
            # Looked at again after the writing: the search has to find what is there now.
            left.extend(_left(decisions, self._homes_now(), repairs))

        to_write = [repair for repair in repairs if repair.pending.paths]
        for repair in to_write:
            home = repair.home
            with backend.mounted_guest(
                home.root.node,
                home.mounts,
                # After the last one: the search runs while the judge does, and takes longer.
                meanwhile=search_again if repair is to_write[-1] else None,
            ) as guest:
                repair.pending.write_to(guest)
        if not to_write:
            search_again()
        return left

    def confirm_repair(self, system: str, decisions: Decisions, others: Sequence[str]) -> None:
        """The repaired files are read again: nothing may be left to repair."""
        look = self._homes_now()
        if look.homes:
            # The repair is planned once more, and must come out empty.
            for repair in repairs_of(look, system, decisions):
                _expect_none(repair.pending.paths)
            return
        places = self._all_places(system, others)
        with self.run_backend.started("repairing the guest", places) as backend:
            for device in _systems(backend, system, others)[0]:
                with backend.mounted_guest(device, writable=False) as guest:
                    for part, policy in decisions:
                        _expect_none(change.path for change in left_to_repair(guest, part, policy))

    def _homes_now(self) -> Look:
        """The guest's homes by our own engine, read again if anything was written since."""
        others = self.disk.extra_disks
        written = sum(disk.writes() for disk in (self.disk, *others))
        backend = self.run_backend
        if backend.homes is None or backend.homes[0] != written:
            look = find_homes(
                self.disk,
                self.path,
                backend.sector_size,
                backend.keyring,
                [(disk, disk.path) for disk in others],
            )
            backend.homes = (written, look)
        return backend.homes[1]

    def _settled_homes(self, backend: Backend) -> Look:
        """The same, after what only a journal or a log knew has been written where it belongs."""
        look = self._homes_now()
        unsettled = [home for home in look.homes if not _is_settled(home)]
        for home in unsettled:
            # Mounting and unmounting replays the journal; nothing else is wanted of it.
            with backend.mounted_guest(home.root.node, home.mounts):
                pass
        return self._homes_now() if unsettled else look


def _swap_in(guest: GuestSystem) -> str:
    """The UUID of its swap file; "" if there is none."""
    found = guest.exists(SWAP_FILE) and read_swap(guest.read_start(SWAP_FILE, LARGEST_PAGE))
    return found.uuid if found else ""


def _expect_none(paths: Iterable[str]) -> None:
    for path in paths:
        raise verify_failed("repair-guest", f"stale lines in {path}", "a guest without them")


def _left(decisions: Decisions, look: Look, repairs: list[HomeRepair]) -> list[str]:
    """What still names it, and is not known to, and what could not be searched: in words."""
    # What a repair could not change is reported with its reason already.
    known = {change.path for repair in repairs for change in repair.changes if not change.mended}
    parts = [part for part, _ in decisions]
    # By the names from before: the line of crypttab that gave one of them is gone.
    names = list(dict.fromkeys(part for repair in repairs for part in repair.parts))
    found = [search(home, parts, needles_of(home, names)) for home in look.homes]
    named, unsearched = (
        [
            f"{path} ({naming})" if naming else path
            for of_home in places
            for path, naming in of_home.items()
            if path not in known
        ]
        for places in ([each.named for each in found], [each.unsearched for each in found])
    )
    words = [f"could not be searched: {place}" for place in unsearched]
    if not named:
        return words
    why = "not changed, since growdisk does not know what it is for"
    return [f"still named in {', '.join(named)}: {why}", *words]


def _repair_unread(
    backend: Backend, system: str, decisions: Decisions, others: Sequence[str]
) -> str:
    """In file systems that only a kernel reads."""
    changes: dict[str, Change] = {}
    systems, unread = _systems(backend, system, others)
    for device in systems:
        with backend.mounted_guest(device, writable=True) as guest:
            found = [one for part, policy in decisions for one in repair_guest(guest, part, policy)]
        changes |= {change.path: change for change in found}
    left = [f"{device.removeprefix('/dev/')} could not be looked into" for device in unread]
    return _in_words(list(changes.values()), left, found=bool(systems))


def _systems(backend: Backend, system: str, others: Sequence[str]) -> tuple[list[str], list[str]]:
    """(devices with a guest, devices that cannot be read)."""
    # If there is no other device, the guest must be on this one, with an fstab or without.
    if not others:
        return [system], []
    found = {device: _has_guest(backend, device) for device in (system, *others)}
    return [d for d, has in found.items() if has], [d for d, has in found.items() if has is None]


def _has_guest(backend: Backend, device: str) -> bool | None:
    """Whether a device has a guest (an fstab); None if it cannot be mounted."""
    try:
        with backend.mounted_guest(device, writable=False) as guest:
            return guest.exists(FSTAB)
    except ToolFailed:
        # No reason to fail: it may need other disks, or a newer kernel.
        return None


def _in_words(changes: list[Change], left: list[str], *, found: bool = True) -> str:
    """`left`: what still may name it. `found`: whether any file of a guest could be read."""
    mended = ", ".join(dict.fromkeys(change.path for change in changes if change.mended))
    named = [f"{change.path}: {change.what}" for change in changes if not change.mended]
    if not found:
        mended = "no guest was found: no file system that can be read here has an /etc/fstab"
    elif not mended:
        # "no file names what is gone" would contradict what follows.
        mended = "nothing was changed" if named or left else NOTHING_NAMED
    return "; ".join([mended, *named, *left])


def _is_settled(home: Home) -> bool:
    for tree in home.paths.trees:
        if isinstance(tree, ExtTree):
            if tree.content.needs_recovery or not tree.content.clean:
                return False
        elif not isinstance(tree, FatTree):
            return False  # a log says only to its kernel whether anything is in it
    return True
