"""repair-guest: fstab, RESUME, kernel command lines and initrds no longer wait for a swap partition that is gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from growdisk.backends.guest_repair.repair import Change, GuestFiles, repair_guest
from growdisk.backends.guest_repair.swap_identity import SwapIdentity, SwapPolicy
from growdisk.steps.context import RunContext
from growdisk.steps.failures import PromiseBroken
from growdisk.workflow.step import Check, Evidence, Ready, Scope


@dataclass(frozen=True)
class RepairGuest:
    """`swaps` are the removed swap partitions; with policy FILE the first of them has become the swap file."""

    root: int
    swaps: tuple[SwapIdentity, ...]
    policy: SwapPolicy

    name: ClassVar[str] = "repair-guest"
    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.GUEST})

    def describe(self) -> str:
        gone = ", ".join(f"sda{swap.number}" for swap in self.swaps)
        return f"the guest on sda{self.root} forgets swap partition {gone} (fstab, RESUME, initrd)"

    def check(self, context: RunContext) -> Check:
        return Ready()  # the repair itself finds out, file by file, and is idempotent

    def apply(self, context: RunContext) -> Evidence:
        changes = self._repair(context)
        return Evidence(", ".join(change.path for change in changes) or "nothing in the guest names it")

    def verify(self, context: RunContext, evidence: Evidence) -> None:
        """The repaired files are read again: nothing may be left to repair."""
        left = self._repair(context)
        if left:
            raise PromiseBroken(self.name, found=f"stale lines in {left[0].path}", expected="a guest without them")

    def _repair(self, context: RunContext) -> list[Change]:
        with (
            context.hands.appliance("repairing the guest") as appliance,
            appliance.mounted_guest(f"/dev/sda{self.root}") as guest,
        ):
            return [change for swap, policy in self._fates() for change in _changes(guest, swap, policy)]

    def _fates(self) -> list[tuple[SwapIdentity, SwapPolicy]]:
        return [(swap, SwapPolicy.DROP if number else self.policy) for number, swap in enumerate(self.swaps)]


def _changes(guest: GuestFiles, swap: SwapIdentity, policy: SwapPolicy) -> tuple[Change, ...]:
    return repair_guest(guest, swap, policy).changes
