"""A proposal as a guest can carry it out while it runs: the same steps, for guest scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import PhysicalVolumeContent, SwapContent
from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.guest_scripts.script_plan import (
    GuestFilesystem,
    GuestGrowth,
    GuestLayer,
    GuestPlan,
    GuestSwap,
    SwapAction,
)
from growdisk.partitions.table import Partition, PartitionTable, Role
from growdisk.planner.facts import Facts
from growdisk.planner.refusals import CannotGrow
from growdisk.steps.device_path import DevicePath
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.grow_layers import LayerStep
from growdisk.steps.guest_steps import MakeSwapFile, RepairGuest
from growdisk.steps.registry import DiskStep
from growdisk.steps.resize_image import ResizeImage
from growdisk.steps.step_traits import first, of_kind
from growdisk.steps.table_steps import RewritePartitions
from growdisk.units import align_down

_SECTOR = 512  # what a kernel counts in
_KINDS = ("ext2", "ext3", "ext4", "xfs", "btrfs")


@dataclass(frozen=True)
class Growth:
    """A file system that grows, and the layers that it lies in, from the outside in."""

    filesystem: GrowFilesystem
    layers: tuple[LayerStep, ...]


def growths_of(steps: Iterable[DiskStep]) -> tuple[Growth, ...]:
    """In the order in which they grow.

    Volumes of one group have the layers of the group in common.
    """
    steps = tuple(steps)
    layers = of_kind(LayerStep, steps)
    return tuple(
        Growth(step, tuple(layer for layer in layers if _leads_to(layer, step.place)))
        for step in of_kind(GrowFilesystem, steps)
    )


def growth_layers(steps: Iterable[DiskStep]) -> dict[str, tuple[int, int]]:
    """For each growing step, by its name: (which growth it belongs to, which of its layers it is).

    Layers count from 1 on; the file system itself is 0. What several growths have in common grows
    with the first of them.
    """
    parts: dict[str, tuple[int, int]] = {}
    for number, growth in enumerate(growths_of(steps)):
        for layer, step in enumerate(growth.layers, 1):
            parts.setdefault(step.name, (number, layer))
        parts[growth.filesystem.name] = (number, 0)
    return parts


def _leads_to(layer: LayerStep, place: DevicePath) -> bool:
    outer = layer.opens
    return outer.number == place.number and place.layers[: len(outer.layers)] == outer.layers


def guest_plan(
    run: str, facts: Facts, steps: Iterable[DiskStep], *, serial: str = "", several: bool = False
) -> GuestPlan:
    """What the guest's scripts are made from; `facts` are those that the steps were planned from.

    `serial` is the disk's, if the host gave it one. `several`: the caller grows the remaining file
    systems (`others`). Raises CannotGrow for what can grow only while the guest is off.
    """
    steps = tuple(steps)
    table = first(RewritePartitions, steps)
    made = first(MakeSwapFile, steps)
    moving = [step for step in steps if step.moves]  # content in use is not copied
    target = _target(table, steps)
    if moving or (table and table.before.kind != table.after.kind):
        raise _only_at_rest(
            facts, target, moving[0].describe() if moving else "its table changes kind"
        )
    before, after = (table.before, table.after) if table else _whole_disk(facts, steps)
    grown = [_growth(facts, growth) for growth in growths_of(steps)]
    if not grown:
        raise _only_at_rest(facts, target, f"it holds {facts.kind_of(target)}")
    # `growdisk` carries out one after the other; a bundle, which a person runs, is for one.
    if len(grown) > 1 and not several:
        reason = f"{len(grown)} file systems would grow, and the scripts are for one"
        hint = "make scripts for one after another, each when the one before has been grown"
        raise CannotGrow(facts.image.path, target, reason, hint)
    names = {gone.number: gone for step in of_kind(RepairGuest, steps) for gone in step.swaps}
    return GuestPlan(
        run,
        before,
        after,
        target,
        grown[0].filesystem,
        swaps=tuple(
            _swap(facts, before, number, action, names.get(number))
            for step in steps
            for number, action in step.swap_actions
        ),
        swap_file_size=made.size if made else 0,
        serial=serial,
        layers=grown[0].layers,
        others=tuple(grown[1:]),
        gone=tuple(part for step in steps for part in step.gone),
    )


def _whole_disk(facts: Facts, steps: Iterable[DiskStep]) -> tuple[PartitionTable, PartitionTable]:
    """What stands for the tables of a disk that has none."""
    resize = first(ResizeImage, steps)
    assert resize is not None, steps
    content = facts.contents[0]
    # Without a table the scripts know the disk by the UUID of what is on it, as they read it there:
    # without hyphens. LVM's is text, in which case matters.
    uuid = content.uuid.replace("-", "")
    if not isinstance(content, PhysicalVolumeContent):
        uuid = uuid.lower()
    sizes = (align_down(size, _SECTOR) for size in (resize.old_size, resize.new_size))
    old, new = (
        PartitionTable("mbr", uuid, _SECTOR, size, (Partition(0, 0, size),)) for size in sizes
    )
    return old.with_disk_size(new.disk_size), new


def _target(table: RewritePartitions | None, steps: Iterable[DiskStep]) -> int:
    """What grows: in its place, unlike what is moved. 0: the whole disk, without a table."""
    if grown_filesystem := first(GrowFilesystem, steps):
        return grown_filesystem.number
    if table is None:
        return 0
    # No file system grows: the partition that stays at its start and becomes longer is meant.
    old = {part.number: part for part in table.before.partitions}
    grown = (
        p
        for p in table.after.partitions
        if p.start == old[p.number].start and p.end > old[p.number].end
    )
    return next((p.number for p in grown if p.role is not Role.EXTENDED), 0)


def _growth(facts: Facts, growth: Growth) -> GuestGrowth:
    step = growth.filesystem
    kind = kind_of(facts, step)
    if kind not in _KINDS:
        raise _only_at_rest(facts, step.number, f"it holds {kind}")
    filesystem = GuestFilesystem(kind, step.uuid, step.old_size, step.new_size)
    return GuestGrowth(step.number, filesystem, tuple(_layers(growth.layers)))


def kind_of(facts: Facts, step: GrowFilesystem) -> str:
    """Of ext right in its partition a step says no more than that."""
    return facts.kind_of(step.number) if step.is_plain_ext else step.kind


def _layers(steps: Iterable[LayerStep]) -> Iterator[GuestLayer]:
    group = ""
    for step in steps:
        yield step.guest_layer(group)
        group = step.opens_group or group


def _only_at_rest(facts: Facts, target: int, what: str) -> CannotGrow:
    reason = f"{what}, which growdisk does not do in a running guest"
    hint = "shut the guest down and use growdisk expand on its image"
    return CannotGrow(facts.image.path, target, reason, hint)


def _swap(
    facts: Facts,
    before: PartitionTable,
    number: int,
    action: SwapAction,
    gone: RemovedPartition | None,
) -> GuestSwap:
    content, part = facts.contents[number], before.by_number(number)
    assert isinstance(content, SwapContent), content
    assert part is not None, number
    # One that goes has only the names that are its own.
    own = (content.uuid, content.label, part.name)
    uuid, label, name = (gone.uuid, gone.label, gone.partlabel) if gone else own
    return GuestSwap(
        number, part.size, uuid or "", label or "", before.partuuid(part), name or "", action
    )
