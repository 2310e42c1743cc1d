"""repair-guest: fstab, RESUME, kernel command lines and initrds no longer wait for a swap partition that is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from growdisk.backends.guest_repair.repair import GuestFiles, left_to_repair, repair_guest
from growdisk.backends.guest_repair.swap_identity import SwapIdentity, SwapPolicy
from growdisk.steps.context import RunContext
from growdisk.steps.failures import PromiseBroken
from growdisk.workflow.step import Check, Evidence, Ready, Scope


@dataclass(frozen=True)
class RepairGuest:
    """`system` is the guest's root file system (/dev/sda1, /dev/vg0/root).

    `swaps` are the removed swap partitions; with policy FILE the first of them has become the swap file.
    """

    system: str
    swaps: tuple[SwapIdentity, ...]
    policy: SwapPolicy

    name: ClassVar[str] = "repair-guest"
    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.GUEST})

    def describe(self) -> str:
        gone = ", ".join(f"sda{swap.number}" for swap in self.swaps)
        return f"the guest on {self.system.removeprefix('/dev/')} forgets swap partition {gone} (fstab, RESUME, initrd)"

    def check(self, context: RunContext) -> Check:
        return Ready()  # the repair itself finds out, file by file, and is idempotent

    def apply(self, context: RunContext) -> Evidence:
        with self._guest(context, writable=True) as guest:
            changes = [change for swap, policy in self.fates() for change in repair_guest(guest, swap, policy)]
        return Evidence(", ".join(change.path for change in changes) or "nothing in the guest names it")

    def verify(self, context: RunContext, evidence: Evidence) -> None:
        """The repaired files are read again: nothing may be left to repair."""
        with self._guest(context, writable=False) as guest:
            left = [change for swap, policy in self.fates() for change in left_to_repair(guest, swap, policy)]
        if left:
            raise PromiseBroken(self.name, found=f"stale lines in {left[0].path}", expected="a guest without them")

    @contextmanager
    def _guest(self, context: RunContext, *, writable: bool) -> Iterator[GuestFiles]:
        with (
            context.hands.backend("repairing the guest", inside=True) as backend,
            backend.mounted_guest(self.system, writable=writable) as guest,
        ):
            yield guest

    def fates(self) -> list[tuple[SwapIdentity, SwapPolicy]]:
        return [(swap, SwapPolicy.DROP if number else self.policy) for number, swap in enumerate(self.swaps)]
