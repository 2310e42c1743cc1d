"""What is done in a guest at rest: swap made again, and its own files repaired.

The guest's homes are read by our own engine (homes.py); a backend writes. The same in a running
guest is a phase of its scripts (live_worker.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from growdisk.errors import ToolFailed
from growdisk.fast_dataclass import dataclass
from growdisk.guest_config.etc_tables import SWAP_FILE
from growdisk.guest_config.files import Change, GuestFiles
from growdisk.guest_config.repair import left_to_repair, repair_guest
from growdisk.guest_systems.home_repair import HomeRepair, needles_of, repairs_of
from growdisk.guest_systems.look import Look
from growdisk.guest_systems.search import search
from growdisk.steps.failures import verify_failed
from growdisk.steps.homes import homes_now, mounts_of, settled_homes
from growdisk.steps.repair_guest import NOTHING_NAMED

if TYPE_CHECKING:
    from growdisk.backends.backend import Backend, GuestSystem
    from growdisk.steps.remake_swap import MakeSwapFile, RemakeSwap
    from growdisk.steps.repair_guest import RepairGuest
    from growdisk.steps.worker_at_rest import WorkerAtRest

_FSTAB = "/etc/fstab"


@dataclass(frozen=True)
class GuestAtRest:
    """What `worker` does for the last steps of a plan. `confirm_`: promise-broken."""

    worker: WorkerAtRest

    def make_swap(self, step: RemakeSwap) -> None:
        with self.worker.run_backend.started("making the swap space") as backend:
            for swap in step.missing(self.worker):
                backend.make_swap(
                    swap.place.device, uuid=swap.uuid or None, label=swap.label or None
                )
            backend.sync()

    def confirm_swap(self, step: RemakeSwap) -> None:
        for swap in step.missing(self.worker):
            found = self.worker.content(swap.place)
            raise verify_failed(step.name, found=str(found), expected=f"swap with UUID {swap.uuid}")

    def swap_file_uuid(self, step: MakeSwapFile) -> str | None:
        """Of the swap file that is there; "" without one, None without a system."""
        with self._mounted(step, "looking at the guest") as guest:
            if not guest.exists(_FSTAB):
                return None
            return _uuid_in(guest.read_start(SWAP_FILE, 4096)) if guest.exists(SWAP_FILE) else ""

    def make_swap_file(self, step: MakeSwapFile) -> None:
        with self._mounted(step, "making the swap file") as guest:
            guest.make_swap_file(SWAP_FILE, step.size, uuid=step.uuid or None)

    def confirm_swap_file(self, step: MakeSwapFile) -> None:
        with self._mounted(step, "looking at the swap file") as guest:
            header = guest.read_start(SWAP_FILE, 4096)
        if not _uuid_in(header):
            raise verify_failed(
                step.name, found="no swap signature", expected=f"swap in {SWAP_FILE}"
            )

    @contextmanager
    def _mounted(self, step: MakeSwapFile, activity: str) -> Iterator[GuestSystem]:
        with (
            self.worker.run_backend.started(activity, inside=True) as backend,
            backend.mounted_guest(
                step.system, mounts_of(homes_now(self.worker), step.system)
            ) as guest,
        ):
            yield guest

    def repair(self, step: RepairGuest) -> str:
        """What was done, in words."""
        with self.worker.run_backend.started("repairing the guest", inside=True) as backend:
            look = settled_homes(self.worker, backend)
            # Our readers know none of its file systems: the files are changed through a mount, one
            # by one.
            if not look.homes:
                return _repair_unread(step, backend)
            repairs = repairs_of(look, step.system, step.decisions())
            left = self._written(step, backend, repairs)
        return _told([change for repair in repairs for change in repair.changes], left)

    def _written(self, step: RepairGuest, backend: Backend, repairs: list[HomeRepair]) -> list[str]:
        """Write the repairs; what is left, in words: see _left()."""
        left: list[str] = []

        def search_again() -> None:
            # Looked at again after the writing: the search has to find what is there now.
            left.extend(_left(step, homes_now(self.worker), repairs))

        to_write = [repair for repair in repairs if repair.pending.paths]
        for repair in to_write:
            home = repair.home
            with backend.mounted_guest(
                home.root.node,
                home.mounts,
                # After the last one: a search takes longer than the judge that it runs beside.
                meanwhile=search_again if repair is to_write[-1] else None,
            ) as guest:
                repair.pending.write_to(guest)
        if not to_write:
            search_again()
        return left

    def confirm_repair(self, step: RepairGuest) -> None:
        """The repaired files are read again: nothing may be left to repair."""
        look = homes_now(self.worker)
        if look.homes:
            for repair in repairs_of(look, step.system, step.decisions()):
                # The repair is planned once more, and must come out empty.
                for path in repair.pending.paths:
                    raise verify_failed(
                        step.name, found=f"stale lines in {path}", expected="a guest without them"
                    )
            return
        with self.worker.run_backend.started("repairing the guest", inside=True) as backend:
            for device in _systems(step, backend)[0]:
                with backend.mounted_guest(device, writable=False) as guest:
                    _expect_none_left(step, guest)


def _uuid_in(header: bytes) -> str:
    """Of swap space; "" if there is none."""
    # union swap_header: 1024 bytes for a boot loader, three numbers, the UUID; the magic is what
    # the first page ends with.
    return str(UUID(bytes=header[1036:1052])) if header[4086:] == b"SWAPSPACE2" else ""


def _left(step: RepairGuest, look: Look, repairs: list[HomeRepair]) -> list[str]:
    """What still names it, and is not known to, and what could not be searched: in words."""
    # What a repair could not change is told with its reason already.
    known = {change.path for repair in repairs for change in repair.changes if not change.mended}
    parts = [part for part, _ in step.decisions()]
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
    if named:
        words.insert(
            0,
            f"still named in {', '.join(named)}: not changed, since growdisk does not know "
            "what it is for",
        )
    return words


def _repair_unread(step: RepairGuest, backend: Backend) -> str:
    """In file systems that only a kernel reads."""
    changes: dict[str, Change] = {}
    systems, unread = _systems(step, backend)
    for device in systems:
        with backend.mounted_guest(device, writable=True) as guest:
            found = [
                change
                for part, policy in step.decisions()
                for change in repair_guest(guest, part, policy)
            ]
        changes |= {change.path: change for change in found}
    return _told_unread(list(changes.values()), unread, found=bool(systems))


def _expect_none_left(step: RepairGuest, guest: GuestFiles) -> None:
    for part, policy in step.decisions():
        for change in left_to_repair(guest, part, policy):
            raise verify_failed(
                step.name,
                found=f"stale lines in {change.path}",
                expected="a guest without them",
            )


def _systems(step: RepairGuest, backend: Backend) -> tuple[list[str], list[str]]:
    """(devices with a guest, devices that cannot be read)."""
    # If there is no other device, the guest must be on this one, with an fstab or without.
    if not step.others:
        return [step.system], []
    found = {device: _has_guest(backend, device) for device in (step.system, *step.others)}
    return [device for device, has in found.items() if has], [
        d for d, has in found.items() if has is None
    ]


def _has_guest(backend: Backend, device: str) -> bool | None:
    """Whether a device has a guest (an fstab); None if it cannot be mounted."""
    try:
        with backend.mounted_guest(device, writable=False) as guest:
            return guest.exists(_FSTAB)
    except ToolFailed:
        # No reason to fail: it may need other disks, or a newer kernel.
        return None


def _told(changes: list[Change], left: list[str]) -> str:
    mended = ", ".join(dict.fromkeys(change.path for change in changes if change.mended))
    named = [f"{change.path}: {change.what}" for change in changes if not change.mended]
    words = [
        mended or ("nothing was changed" if named else NOTHING_NAMED),
        *named,
    ]
    # "no file names what is gone" would contradict what follows.
    if left and not changes:
        words[0] = "nothing was changed"
    return "; ".join([*words, *left])


def _told_unread(changes: list[Change], unread: list[str], *, found: bool) -> str:
    mended = ", ".join(change.path for change in changes if change.mended) or NOTHING_NAMED
    words = [
        mended
        if found
        else "no guest was found: no file system that can be read here has an /etc/fstab"
    ]
    words += [f"{change.path}: {change.what}" for change in changes if not change.mended]
    return "; ".join(
        [*words, *(f"{device.removeprefix('/dev/')} could not be looked into" for device in unread)]
    )
