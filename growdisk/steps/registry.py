"""Every kind of step that a written plan may contain.

A new step is a class in this room and a line here. Steps of earlier versions had classes of their
own for running guests: most wrapped the planned step, and two had its words only. What these
leave out is in the plan's values for the guest's scripts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, get_args

from growdisk.fast_dataclass import dataclass, replace
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.guest_scripts.script_plan import GuestPlan
from growdisk.host.json_codec import NotThatValue, converted
from growdisk.partitions.table import FIRST_DISK
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.grow_layers import GrowLogicalVolume, GrowLuks, GrowPhysicalVolume
from growdisk.steps.guest_steps import MakeSwapFile, RemakeSwap, RepairGuest
from growdisk.steps.resize_image import GrowDevice, ResizeImage
from growdisk.steps.table_steps import RereadPartitions, RewritePartitions
from growdisk.steps.worker import SwapSpace
from growdisk.workflow.step import Check, Evidence

if TYPE_CHECKING:
    from growdisk.steps.worker_at_rest import WorkerAtRest

DiskStep = (
    ResizeImage
    | GrowDevice
    | RewritePartitions
    | RereadPartitions
    | GrowLuks
    | GrowPhysicalVolume
    | GrowLogicalVolume
    | GrowFilesystem
    | RemakeSwap
    | MakeSwapFile
    | RepairGuest
)

STEP_KINDS: Mapping[str, type[DiskStep]] = MappingProxyType(
    {kind.__name__: kind for kind in get_args(DiskStep)}
)

Fields = Mapping[str, object]
"""Of a step, as a plan has written them."""

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class ExtraDiskStep:
    """A step of another disk, which has it as its `own`. `disk` counts the run's disks: 1 is sdb.

    In the names of steps the disk itself is sda.
    """

    own: DiskStep
    disk: int

    @property
    def name(self) -> str:
        # The journal's key must differ from that of the same step on the first disk:
        # grow-filesystem-sda1 becomes -sdb1, resize-image becomes resize-image-sdb.
        step, disk = self.own, disk_name(self.disk)
        partition, dash, volume = step.suffix.removeprefix("-").partition("-")
        if partition != f"{FIRST_DISK}{step.partition}":
            return f"{step.name}-{disk}"
        return f"{step.name.removesuffix(step.suffix)}-{disk}{step.partition}{dash}{volume}"

    def describe(self) -> str:
        return self.own.described(disk_name(self.disk))

    def check(self, context: WorkerAtRest) -> Check:
        return self.own.check(self._there(context))

    def apply(self, context: WorkerAtRest) -> Evidence:
        context.run_backend.close()  # one appliance at a time is enough for a host's memory
        return self.own.apply(self._there(context))

    def verify(self, context: WorkerAtRest, evidence: Evidence) -> None:
        self.own.verify(self._there(context), evidence)

    def _there(self, context: WorkerAtRest) -> WorkerAtRest:
        return context.extra_disks[self.disk - 1]


def disk_name(number: int) -> str:
    """Of the run's disks: sda is 0, sdz 25, sdaa 26."""
    more, letter = divmod(number, len(_LETTERS))
    return f"{disk_name(more - 1) if more else 'sd'}{_LETTERS[letter]}"


def in_todays_words(text: bytes) -> bytes:
    """A written plan with its keys as they are now.

    Inside a string the second quote would be escaped.
    """
    return text.replace(b'"fate":', b'"action":').replace(b'"companions":', b'"extra_disks":')


def step_of(kind: str, fields: Fields, guest: GuestPlan | None) -> DiskStep:
    """The step that a plan has written as `kind`; `guest` is the plan's part for a running guest.

    Raises NotThatValue.
    """
    if kind in STEP_KINDS:
        return converted(fields, STEP_KINDS[kind])
    if kind in _EARLIER:
        return _EARLIER[kind](fields)
    if kind in _WRAPPED:
        return _running(converted(fields.get("planned"), _WRAPPED[kind]))
    if kind in _BY_WORDS and guest is not None:
        return _BY_WORDS[kind](converted(fields.get("words"), str), guest)
    raise NotThatValue(f"no step is called {kind}")


def _running(step: DiskStep) -> DiskStep:
    return step.while_running(restart=False, device_size=0)


def _resize(fields: Fields) -> ResizeImage:
    # One class was for both: those on a device of the host had a storage.
    kind = GrowDevice if fields.get("storage") else ResizeImage
    return replace(converted(fields, kind), running=True)


def _swap(_: str, guest: GuestPlan) -> RemakeSwap | MakeSwapFile:
    moved = [(s, guest.after.by_number(s.number)) for s in guest.swaps if s.action == "move"]
    # Swap that moves is listed in the guest's plan; if none does, the step made a swap file.
    if not moved:
        return MakeSwapFile("", guest.swap_file_size, "")
    spaces = (SwapSpace(s.number, p.start, p.size, s.uuid, s.label) for s, p in moved if p)
    return RemakeSwap(tuple(spaces))


def _repair(words: str, guest: GuestPlan) -> RepairGuest:
    """`words` are "the guest on sda1 forgets …"."""
    # The words name only the system; all else is in the guest's plan.
    given_up = [swap for swap in guest.swaps if swap.action in ("drop", "file")]
    swaps = tuple(
        RemovedPartition(s.number, s.uuid, s.label, s.partuuid, s.partlabel) for s in given_up
    )
    policy = SwapRemedy.FILE if any(swap.action == "file" for swap in given_up) else SwapRemedy.DROP
    system = words.removeprefix("the guest on ").partition(" forgets ")[0]
    return RepairGuest(f"/dev/{system}", swaps, policy, guest.gone)


_EARLIER: Mapping[str, Callable[[Fields], DiskStep]] = MappingProxyType(
    {
        "GrowFilesystemAt": lambda fields: converted(fields, GrowFilesystem),
        "LiveResize": _resize,
        "LiveReread": lambda fields: _running(converted(fields, RereadPartitions)),
    }
)
_WRAPPED: Mapping[str, type[DiskStep]] = MappingProxyType(
    {
        "LiveRewrite": RewritePartitions,
        "LiveGrowLuks": GrowLuks,
        "LiveGrowPhysicalVolume": GrowPhysicalVolume,
        "LiveGrowLogicalVolume": GrowLogicalVolume,
        "LiveGrow": GrowFilesystem,
    }
)
_BY_WORDS: Mapping[str, Callable[[str, GuestPlan], DiskStep]] = MappingProxyType(
    {"LiveRemakeSwap": _swap, "LiveRepair": _repair}
)
