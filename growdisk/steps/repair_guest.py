"""repair-guest: the guest's files no longer wait for a partition that is gone.

They are fstab, RESUME, kernel command lines and initrds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from growdisk.backends.backend import Backend
from growdisk.errors import ToolFailed
from growdisk.fast_dataclass import dataclass
from growdisk.guest_config.files import Change, GuestFiles
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.guest_config.repair import left_to_repair, repair_guest
from growdisk.guest_scripts.script_plan import SwapAction
from growdisk.guest_systems.home_repair import HomeRepair, needles_of, repairs_of
from growdisk.guest_systems.look import Look
from growdisk.guest_systems.search import search
from growdisk.steps.failures import verify_failed
from growdisk.steps.homes import homes_now, settled_homes
from growdisk.steps.step_traits import StepTraits
from growdisk.steps.worker_at_rest import WorkerAtRest
from growdisk.workflow.step import Check, Evidence, Ready, Scope

_FSTAB = "/etc/fstab"
NOTHING_NAMED = "no file of the guest names what is gone"


@dataclass(frozen=True)
class RepairGuest(StepTraits):
    """`system` is where the guest's root file system is taken to be (/dev/sda1, /dev/vg0/root).

    `swaps` are the removed swap partitions; with policy FILE the first of them has become the swap
    file. `gone` are others that were removed. `others` are further file systems, in which the
    guest's files may be as well.
    """

    system: str
    swaps: tuple[RemovedPartition, ...]
    policy: SwapRemedy
    gone: tuple[RemovedPartition, ...] = ()
    others: tuple[str, ...] = ()

    name: ClassVar[str] = "repair-guest"
    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.GUEST})
    changes_guest: ClassVar[bool] = True

    def described(self, disk: str) -> str:
        swaps, gone = (
            ", ".join(f"{disk}{part.number}" for part in parts) for parts in (self.swaps, self.gone)
        )
        words = [f"swap partition {swaps}" if swaps else "", f"partition {gone}" if gone else ""]
        what = " and ".join(word for word in words if word)
        return (
            f"the guest on {self.system.removeprefix('/dev/')} forgets {what} (fstab, RESUME, "
            "initrd)"
        )

    def check(self, context: WorkerAtRest) -> Check:
        return Ready()  # the repair itself finds out, file by file, and is idempotent

    def apply(self, context: WorkerAtRest) -> Evidence:
        with _at_work(context) as backend:
            look = settled_homes(context, backend)
            # Our readers know none of its file systems: the files are changed through a mount, one
            # by one.
            if not look.homes:
                return self._repair_unread(backend)
            repairs = repairs_of(look, self.system, self.decisions())
            left = self._written(context, backend, repairs)
        return Evidence(_told([change for repair in repairs for change in repair.changes], left))

    def _written(
        self, context: WorkerAtRest, backend: Backend, repairs: list[HomeRepair]
    ) -> list[str]:
        """Write the repairs; what is left, in words: see _left()."""
        left: list[str] = []

        def search_again() -> None:
            # Looked at again after the writing: the search has to find what is there now.
            left.extend(self._left(homes_now(context), repairs))

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

    def _left(self, look: Look, repairs: list[HomeRepair]) -> list[str]:
        """What still names it, and is not known to, and what could not be searched: in words."""
        # What a repair could not change is told with its reason already.
        known = {
            change.path for repair in repairs for change in repair.changes if not change.mended
        }
        parts = [part for part, _ in self.decisions()]
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
        words = [
            (
                f"still named in {', '.join(named)}: not changed, since growdisk does not know "
                "what it is for"
            )
        ]
        return [
            *(words if named else ()),
            *(f"could not be searched: {place}" for place in unsearched),
        ]

    def _repair_unread(self, backend: Backend) -> Evidence:
        """In file systems that only a kernel reads."""
        changes: dict[str, Change] = {}
        systems, unread = self._systems(backend)
        for device in systems:
            with backend.mounted_guest(device, writable=True) as guest:
                found = [
                    change
                    for part, policy in self.decisions()
                    for change in repair_guest(guest, part, policy)
                ]
            changes |= {change.path: change for change in found}
        return Evidence(_told_unread(list(changes.values()), unread, found=bool(systems)))

    def verify(self, context: WorkerAtRest, evidence: Evidence) -> None:
        """The repaired files are read again: nothing may be left to repair."""
        look = homes_now(context)
        if look.homes:
            for repair in repairs_of(look, self.system, self.decisions()):
                # The repair is planned once more, and must come out empty.
                for path in repair.pending.paths:
                    raise verify_failed(
                        self.name, found=f"stale lines in {path}", expected="a guest without them"
                    )
            return
        with _at_work(context) as backend:
            for device in self._systems(backend)[0]:
                with backend.mounted_guest(device, writable=False) as guest:
                    self._expect_none_left(guest)

    def _expect_none_left(self, guest: GuestFiles) -> None:
        for part, policy in self.decisions():
            for change in left_to_repair(guest, part, policy):
                raise verify_failed(
                    self.name,
                    found=f"stale lines in {change.path}",
                    expected="a guest without them",
                )

    def _systems(self, backend: Backend) -> tuple[list[str], list[str]]:
        """(devices with a guest, devices that cannot be read)."""
        # If there is no other device, the guest must be on this one, with an fstab or without.
        if not self.others:
            return [self.system], []
        found = {device: _has_guest(backend, device) for device in (self.system, *self.others)}
        return [device for device, has in found.items() if has], [
            d for d, has in found.items() if has is None
        ]

    @property
    def swap_actions(self) -> tuple[tuple[int, SwapAction], ...]:
        return tuple((swap.number, remedy.value) for swap, remedy in self._remedies)

    def decisions(self) -> list[tuple[RemovedPartition, SwapRemedy]]:
        return [*self._remedies, *((part, SwapRemedy.DROP) for part in self.gone)]

    @property
    def _remedies(self) -> list[tuple[RemovedPartition, SwapRemedy]]:
        """All the swap that goes becomes one file, under the name of the first."""
        return [
            (swap, SwapRemedy.DROP if number else self.policy)
            for number, swap in enumerate(self.swaps)
        ]


@contextmanager
def _at_work(context: WorkerAtRest) -> Iterator[Backend]:
    with context.run_backend.started("repairing the guest", inside=True) as backend:
        yield backend


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
