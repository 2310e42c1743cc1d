"""What becomes of swap that stands in the way, as far as the guest's own files allow.

It is given up only if every place that names it can be changed. Otherwise the default becomes to
move it: same UUID, label and number, so that nothing in the guest has to change. What the user
asked for explicitly is done, with a warning that names what will wait. The same files forget other
partitions that were removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
from growdisk.planner.layers.growers import notes_on_tpm
from growdisk.planner.proposal import GoalReached, GuestSeen, PlanFunction, Proposal
from growdisk.planner.refusals import (
    CannotGrow,
    option_unsupported,
    refuse_file_for_random_key,
    refuse_large_swap_file,
)
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.grow_layers import LayerStep
from growdisk.steps.guest_steps import MakeSwapFile, RemakeSwap, RepairGuest
from growdisk.steps.registry import DiskStep
from growdisk.steps.step_traits import first
from growdisk.steps.worker import SwapSpace
from growdisk.volumes.luks2_json import BOOT_FILES

_MOUNTABLE = (ExtContent, XfsContent, BtrfsContent)
_FILES = "/etc/fstab, crypttab, RESUME, the boot loader's command line"


def swap_steps(
    facts: Facts, goal: Goal, growth: Grown, inside: ContentGrowth
) -> Iterator[DiskStep]:
    """`inside` is what grows; the guest's own files are looked for there first."""
    moved = tuple(
        SwapSpace(
            part.number, part.start, part.size, content.uuid, content.label, content.page_size
        )
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
        old = facts.contents[swaps[0].number]
        assert isinstance(old, SwapContent), old
        yield MakeSwapFile(inside.system, size, old.uuid, old.page_size)
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
    identities = [one for part in removed for one in _identities(facts, part, removed)]
    swaps = tuple(identity for identity in identities if identity.is_swap)
    gone = tuple(identity for identity in identities if not identity.is_swap)
    remedy = SwapRemedy.FILE if goal.swap == "file" and swaps and inside.system else SwapRemedy.DROP
    return RepairGuest(systems[0], swaps, remedy, gone, tuple(systems[1:]))


def _mountable(facts: Facts, growth: Grown) -> Iterator[str]:
    """The largest first: a root has more room than its /boot."""
    parts = growth.table.partitions
    mountable = [p for p in parts if isinstance(facts.contents.get(p.number), _MOUNTABLE)]
    for part in sorted(mountable, key=lambda part: -part.size):
        yield f"/dev/{FIRST_DISK}{part.number}"


def _identities(
    facts: Facts, part: Partition, removed: Sequence[Partition]
) -> Iterator[RemovedPartition]:
    """All by which a partition, and what lies in it, may be named."""
    assert facts.table is not None
    content = facts.contents.get(part.number)
    # What one that stays is called as well (LABEL=swap; a copy made with dd) goes on naming that.
    kept = [other for other in facts.partitions if other not in removed]
    taken = {""}
    for other in facts.all_within(*(other.number for other in kept)):
        taken |= {other.uuid, other.label}
    name = None if part.name in {other.name for other in kept} else part.name or None
    outer = RemovedPartition(
        part.number,
        partuuid=facts.table.partuuid(part),
        partlabel=name,
        mapped=tuple(_volume_nodes(content)),
        is_swap=part.number in facts.swaps,
    )
    if content is None:
        yield outer
    for inner in content.all_within() if content else ():
        uuid, label = (None if own in taken else own for own in (inner.uuid, inner.label))
        if inner is content:
            yield replace(outer, uuid=uuid, label=label)
        elif uuid or label:
            # What lies in it may be named as well: a volume's file system by its UUID or label.
            yield RemovedPartition(part.number, uuid, label, is_swap=False)


def _volume_nodes(content: Content | None) -> Iterator[str]:
    for holder in content.all_within() if content else ():
        if isinstance(holder, PhysicalVolumeContent) and holder.group is not None:
            group = holder.group.name
            for volume in holder.group.visible:
                yield f"/dev/{group}/{volume.name}"
                # Device-mapper joins the two names by a hyphen, so it doubles those within them.
                yield f"/dev/mapper/{mapped_name(group, volume.name)}"


_SIX = 6


def changes_guest(proposal: Proposal) -> bool:
    """Whether something of it is in the guest's own files."""
    return any(step.changes_guest for step in proposal.steps)


def gives_up_unread(facts: Facts, goal: Goal, proposal: Proposal) -> bool:
    """Whether swap goes by default, and no file of the guest can be read to forget it."""
    left = {part.number for part in proposal.after.partitions}
    return (
        goal.repair
        and goal.swap is None
        and not left.issuperset(facts.swaps)
        and first(RepairGuest, proposal.steps) is None
        # The table alone is no guest's growth: a playbook's step, or unknown content on request.
        and any(isinstance(step, GrowFilesystem | LayerStep) for step in proposal.steps)
    )


def swap_alone(steps: Sequence[DiskStep]) -> tuple[DiskStep, ...]:
    """The steps, as if no other partition than swap were given up."""
    return tuple(replace(s, gone=()) if isinstance(s, RepairGuest) else s for s in steps)


def as_guest_allows(
    propose: PlanFunction,
    facts: Facts,
    goal: Goal,
    proposal: Proposal,
    seen: GuestSeen,
    of_swap: GuestSeen,
) -> Proposal | GoalReached:
    """The proposal, or what `propose` makes of moving swap, if the guest's files need that.

    `of_swap`: what is seen of the swap alone (swap_alone). option-unsupported: a swap file without
    a system.
    """
    _refuse_swap_file(facts, proposal, seen)
    if gives_up_unread(facts, goal, proposal):
        return _moved(propose, facts, goal, of_swap)
    repair = first(RepairGuest, proposal.steps)
    notes = (*proposal.notes, *_notes_on_swap_file(proposal, seen))
    if any("/etc/" not in path for path in seen.named):
        notes = (*notes, *notes_on_tpm(facts, BOOT_FILES, "what it reads to start"))
    if repair is None:
        return replace(proposal, notes=notes, guest=seen)
    # Only the default turns round: who says --swap drop, or file, gets it, with a warning.
    if of_swap.obstacles and repair.swaps and goal.swap is None:
        return _moved(propose, facts, goal, of_swap)
    notes = (*notes, *_notes_on_snapshots(seen), *_warnings(facts, repair, seen.obstacles))
    return replace(proposal, notes=notes, guest=seen)


def _moved(
    propose: PlanFunction, facts: Facts, goal: Goal, seen: GuestSeen
) -> Proposal | GoalReached:
    """Instead of giving it up."""
    try:
        moved = propose(facts, replace(goal, swap="move"))
    except CannotGrow as error:
        hint = "--swap drop gives it up"
        if error.hint:
            hint = f"{error.hint}; --swap drop gives it up all the same"
        raise replace(
            error,
            reason=f"{error.reason}; swap is not given up, since {seen.obstacles[0]}",
            hint=hint,
        ) from error
    # Swap that is moved needs no repair. If there is one all the same, swap cannot move.
    left = None if isinstance(moved, GoalReached) else first(RepairGuest, moved.steps)
    # With swaps left it is a task that only repairs the guest.
    if isinstance(moved, GoalReached) or (left and left.swaps):
        return moved
    names = f" (it stays named in {_short(seen.named)})" if seen.named else ""
    note = (
        f"swap is moved, not given up{names}: {'; '.join(seen.obstacles)}; --swap drop gives "
        "it up all the same"
    )
    return replace(moved, notes=(*moved.notes, note))


def _warnings(facts: Facts, repair: RepairGuest, reasons: Sequence[str]) -> Iterator[str]:
    names = dict.fromkeys(facts.name_of(part.number) for part in (*repair.swaps, *repair.gone))
    are, them = ("are", "them") if len(names) > 1 else ("is", "it")
    for reason in reasons:
        yield (
            f"WARNING: {' and '.join(names)} {are} given up, and the next boot may wait for "
            f"{them}: {reason}"
        )


def _short(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _SIX} more" if len(paths) > _SIX + 2 else ""
    return ", ".join(paths[: _SIX if more else len(paths)]) + more


def _notes_on_snapshots(seen: GuestSeen) -> Iterator[str]:
    if seen.snapshots:
        yield (
            f"snapshots of the guest stay as they are ({_short(seen.snapshots)}): a system that is "
            "set back to one of them waits for the swap; --swap move keeps it"
        )


def _notes_on_swap_file(proposal: Proposal, seen: GuestSeen) -> Iterator[str]:
    step = first(MakeSwapFile, proposal.steps)
    if step and step.system in seen.on_btrfs:
        yield (
            "btrfs makes no snapshot of the root's subvolume while a swap file in it is on "
            "(snapper, timeshift): --swap move keeps a partition instead"
        )


def _refuse_swap_file(facts: Facts, proposal: Proposal, seen: GuestSeen) -> None:
    if step := first(MakeSwapFile, proposal.steps):
        node = step.system.removeprefix("/dev/")
        reason = "" if step.system in seen.systems else f"no guest's system can be seen in {node}"
        if step.system in seen.no_swap_file:
            reason = f"the root in {node} {seen.no_swap_file[step.system]}"
        if reason:
            hint = "keep the swap partition: --swap move"
            raise option_unsupported(facts.image.path, "--swap file", reason, hint)
