"""What becomes of swap that stood in the way, and of a guest whose files name what was removed."""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.fast_dataclass import replace
from growdisk.filesystems.content import (
    BtrfsContent,
    Content,
    ExtContent,
    PhysicalVolumeContent,
    SwapContent,
    XfsContent,
)
from growdisk.filesystems.volume_group import mapped_name
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.partitions.growth import Grown
from growdisk.partitions.table import FIRST_DISK, Partition, Role
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal
from growdisk.planner.layers.content_growth import ContentGrowth
from growdisk.planner.refusals import refuse_file_for_random_key, refuse_large_swap_file
from growdisk.steps.guest_steps import MakeSwapFile, RemakeSwap, RepairGuest
from growdisk.steps.registry import DiskStep
from growdisk.steps.worker import SwapSpace

_MOUNTABLE = (ExtContent, XfsContent, BtrfsContent)
_FILES = "/etc/fstab, crypttab, RESUME, the boot loader's command line"


def swap_steps(
    facts: Facts, goal: Goal, growth: Grown, inside: ContentGrowth
) -> Iterator[DiskStep]:
    """`inside` is what grows; the guest's own files are looked for there first."""
    moved = tuple(
        SwapSpace(part.number, part.start, part.size, content.uuid, content.label)
        for part in growth.moved
        if isinstance(content := facts.contents.get(part.number), SwapContent)
        # crypttab makes its header at each start: there is none to write.
        and not content.random_key
    )
    if moved:
        yield RemakeSwap(moved)
    swaps = [p for p in growth.removed if p.number in facts.swaps]
    if swaps and inside.system and goal.swap == "file":
        refuse_file_for_random_key(facts, swaps)
        # All the swap that goes becomes one file, with the UUID of the first.
        size = sum(p.size for p in swaps)
        refuse_large_swap_file(facts, size, inside.free)
        yield MakeSwapFile(inside.system, size, facts.contents[swaps[0].number].uuid)
    if repair := _repair(facts, goal, growth, inside):
        yield repair


def repair_notes(facts: Facts, goal: Goal, growth: Grown, inside: ContentGrowth) -> Iterator[str]:
    """What is not done in the guest, and why."""
    gone = [facts.name_of(p.number) for p in growth.removed if p.role is not Role.EXTENDED]
    if not gone or _repair(facts, goal, growth, inside):
        return
    alone = "the guest's files are left alone, as asked"
    unread = (
        "no file system on this disk can be read here, so that the guest's files stay as they are"
    )
    yield (
        f"{alone if not goal.repair else unread}: what names {', '.join(gone)} there ({_FILES}) "
        "is for you to change"
    )


def _repair(facts: Facts, goal: Goal, growth: Grown, inside: ContentGrowth) -> RepairGuest | None:
    removed = [p for p in growth.removed if p.role is not Role.EXTENDED]
    # The first one is where the swap file goes; the others may hold the guest's files all the same.
    systems = [inside.system] if inside.system else []
    systems += [device for device in _mountable(facts, growth) if device not in systems]
    if not (goal.repair and removed and systems):
        return None
    swaps = tuple(
        identity for p in removed if p.number in facts.swaps for identity in _identities(facts, p)
    )
    gone = tuple(
        identity
        for p in removed
        if p.number not in facts.swaps
        for identity in _identities(facts, p)
    )
    remedy = SwapRemedy.FILE if goal.swap == "file" and swaps and inside.system else SwapRemedy.DROP
    return RepairGuest(systems[0], swaps, remedy, gone, tuple(systems[1:]))


def _mountable(facts: Facts, growth: Grown) -> Iterator[str]:
    """The largest first: a root has more room than a /boot beside it."""
    contents = ((part, facts.contents.get(part.number)) for part in growth.table.partitions)
    for part, _ in sorted(
        ((p, c) for p, c in contents if isinstance(c, _MOUNTABLE)), key=lambda pair: -pair[0].size
    ):
        yield f"/dev/{FIRST_DISK}{part.number}"


def _identities(facts: Facts, part: Partition) -> Iterator[RemovedPartition]:
    """All by which a partition, and what lies in it, may be named."""
    assert facts.table is not None
    content = facts.contents.get(part.number)
    is_swap = part.number in facts.swaps
    uuid, label = (content.uuid or None, content.label or None) if content else (None, None)
    partuuid = facts.table.partuuid(part)
    outer = RemovedPartition(part.number, uuid, label, partuuid, part.name or None, is_swap=is_swap)
    yield replace(outer, mapped=tuple(_volume_nodes(content)))
    for inner in content.all_within() if content else ():
        if inner is not content and (inner.uuid or inner.label):
            # What lies in it may be named as well: a volume's file system by its UUID or label.
            yield RemovedPartition(
                part.number, inner.uuid or None, inner.label or None, is_swap=False
            )


def _volume_nodes(content: Content | None) -> Iterator[str]:
    for holder in content.all_within() if content else ():
        if isinstance(holder, PhysicalVolumeContent) and holder.group is not None:
            group = holder.group.name
            for volume in holder.group.visible:
                yield f"/dev/{group}/{volume.name}"
                # Device-mapper joins the two names by a hyphen, so it doubles those within them.
                yield f"/dev/mapper/{mapped_name(group, volume.name)}"
