"""The steps of a running guest: the same names and plans as offline, carried out by QEMU and by scripts in the guest.

Each verifies by another road than it was done: what a script did is read back through the guest's block device by our
own readers, and from the guest's kernel.
"""

from __future__ import annotations

import time
from typing import ClassVar

from growdisk.fast_dataclass import dataclass
from growdisk.guest_scripts.answers import Answer, Outcome
from growdisk.guest_scripts.script_plan import Phase
from growdisk.live.qemu_machine import Arrival
from growdisk.partitions.sectors import read_table
from growdisk.partitions.table import PartitionTable, Role
from growdisk.steps.failures import TableChanged, VerifyFailed
from growdisk.steps.grow_device import words_for
from growdisk.steps.live_context import LiveContext
from growdisk.steps.live_failures import GuestDoesNotSee
from growdisk.steps.rewrite_partitions import RewritePartitions, listed
from growdisk.storage.growing import device_size, resize_device
from growdisk.storage.values import Storage
from growdisk.units import format_change, format_size
from growdisk.workflow.step import AlreadyDone, Blocked, Check, Evidence, Ready, Scope

_ARRIVAL_SECONDS = 15.0


@dataclass(frozen=True)
class LiveResize:
    """resize-image: QEMU makes the disk larger; with `restart` the guest is restarted to see it.

    `storage`: what the disk lies on if the host makes that larger first; `device_size` is what it has before, in bytes.
    """

    old_size: int
    new_size: int
    restart: bool = False
    storage: Storage | None = None
    device_size: int = 0

    name: ClassVar[str] = "resize-image"
    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.IMAGE})

    def describe(self) -> str:
        if self.new_size == self.old_size:
            return f"the image stays at {format_size(self.old_size)}"
        how = ", then the guest RESTARTS once" if self.restart else ", while the guest runs"
        what = words_for(self.storage) if self.storage else "image"
        return f"{what} {format_change(self.old_size, self.new_size)}{how}"

    def check(self, context: LiveContext) -> Check:
        if context.disk.size >= self.new_size and context.seen().size >= self.new_size:
            return AlreadyDone(f"the disk is {format_size(context.disk.size)} already")
        return Ready()

    def apply(self, context: LiveContext) -> Evidence:
        if self.storage and device_size(context.path) < self.new_size:  # somebody may have given it more meanwhile
            resize_device(context.path, self.new_size)
        context.machine.resize(context.key, self.new_size)
        restarted = self.restart and not _arrives(context, self.new_size, seconds=1)
        if restarted:
            context.restart()
        words = format_change(self.old_size, self.new_size)
        return Evidence(words + (", the guest has restarted" if restarted else ""), {"size": self.new_size})

    def verify(self, context: LiveContext, evidence: Evidence) -> None:
        disk = context.disk
        if disk.size != self.new_size:
            raise VerifyFailed(self.name, found=f"{disk.size} bytes", expected=f"{self.new_size} bytes")
        if not _arrives(context, self.new_size, _ARRIVAL_SECONDS):
            hint = "run the same command with --allow-reboot" if disk.bus.arrival is Arrival.RESTART else ""
            raise GuestDoesNotSee(context.device, self.new_size, context.seen().size, *([hint] if hint else []))


def _arrives(context: LiveContext, size: int, seconds: float) -> bool:
    """Whether the guest's kernel has the size, or gets it within `seconds`."""
    deadline = time.monotonic() + seconds
    while context.seen().size != size:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


@dataclass(frozen=True)
class LiveRewrite:
    """rewrite-partitions: swap off, and the planned table onto the disk; the kernel is not told yet."""

    planned: RewritePartitions

    name: ClassVar[str] = "rewrite-partitions"
    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.TABLE})

    def describe(self) -> str:
        return self.planned.describe()

    def check(self, context: LiveContext) -> Check:
        table = _table(context)
        if table == self.planned.after:
            return AlreadyDone("the table is as planned")
        if table != self.planned.before:
            return Blocked(TableChanged(found=listed(table)))
        return Ready()

    def apply(self, context: LiveContext) -> Evidence:
        context.keep_table(context.run(Phase.PREPARE))
        context.run(Phase.REWRITE)
        return Evidence(self.describe())

    def verify(self, context: LiveContext, evidence: Evidence) -> None:
        table = _table(context)
        if table != self.planned.after:
            raise VerifyFailed(self.name, found=listed(table), expected=listed(self.planned.after))


def _table(context: LiveContext) -> PartitionTable | None:
    return read_table(context.seen(), context.path)


@dataclass(frozen=True)
class LiveReread:
    """reread-partitions: the guest's own kernel goes by the planned table."""

    table: PartitionTable

    name: ClassVar[str] = "reread-partitions"
    touches: ClassVar[frozenset[Scope]] = frozenset()

    def describe(self) -> str:
        return "the guest's kernel reads the new table, without a restart"

    def check(self, context: LiveContext) -> Check:
        return AlreadyDone("the kernel has it already") if self._seen(context) else Ready()

    def apply(self, context: LiveContext) -> Evidence:
        answer = context.run_to_the_end(Phase.REREAD)
        return Evidence(_said(answer) or f"the kernel sees {len(self.table.partitions)} partitions")

    def verify(self, context: LiveContext, evidence: Evidence) -> None:
        if not self._seen(context):
            found = ", ".join(f"{n} [{s}, +{z})" for n, (s, z) in sorted(_kernel_view(context).items()))
            raise VerifyFailed(self.name, found=found, expected=listed(self.table))

    def _seen(self, context: LiveContext) -> bool:
        """A kernel gives an extended partition a token size, so that is not compared."""
        kernel = _kernel_view(context)
        sizes = {p.number: (p.start, 0 if p.role is Role.EXTENDED else p.size) for p in self.table.partitions}
        return sizes == {n: (start, size if sizes.get(n, (0, 1))[1] else 0) for n, (start, size) in kernel.items()}


def _kernel_view(context: LiveContext) -> dict[int, tuple[int, int]]:
    """Number to start and size, in bytes."""
    return {part.number: (part.start, part.size) for part in context.seen().partitions}


@dataclass(frozen=True)
class LiveRemakeSwap:
    """remake-swap: swap again, moved or as a file, and in use."""

    words: str
    last: bool

    name: ClassVar[str] = "remake-swap"
    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.CONTENT, Scope.GUEST})

    def describe(self) -> str:
        return self.words

    def check(self, context: LiveContext) -> Check:
        return Ready()

    def apply(self, context: LiveContext) -> Evidence:
        return Evidence(_said(context.run(Phase.REPAIR)) or self.words)

    def verify(self, context: LiveContext, evidence: Evidence) -> None:
        conclude(context, last=self.last)


@dataclass(frozen=True)
class LiveRepair:
    """repair-guest: fstab, RESUME, kernel command lines and initrds, by the guest itself."""

    words: str
    last: bool = True

    name: ClassVar[str] = "repair-guest"
    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.GUEST})

    def describe(self) -> str:
        return self.words

    def check(self, context: LiveContext) -> Check:
        return Ready()

    def apply(self, context: LiveContext) -> Evidence:
        answer = context.run(Phase.REPAIR)
        return Evidence("done already" if answer.result is Outcome.ALREADY else _said(answer) or self.words)

    def verify(self, context: LiveContext, evidence: Evidence) -> None:
        conclude(context, last=self.last)


def conclude(context: LiveContext, *, last: bool) -> None:
    """After the last step the guest reads everything back itself, and takes away what a restart was to go on with."""
    if last:
        for growth in range(1 + len(context.guest.others)):
            context.run(Phase.VERIFY, growth=growth)


def _said(answer: Answer) -> str:
    return answer.what
