"""What belongs to somebody else is not grown, moved or given up, whatever it looks like. Pure.

A member of an array looks like a file system at its start; to grow its partition is to lose it. A
signature or the partition's type says so; a user who knows better can remove either.
"""

from __future__ import annotations

from collections.abc import Collection

from growdisk.errors import FOR_TABLE_TOOLS
from growdisk.filesystems.content import (
    AmbiguousContent,
    BtrfsContent,
    Content,
    ExtContent,
    ForeignContent,
    JournalContent,
    NtfsContent,
)
from growdisk.filesystems.foreign import GPT_KIND, MBR_KIND, UNKNOWN_TO_BLKID
from growdisk.partitions.growth import Grown, NotPossible
from growdisk.partitions.owners import owner_of
from growdisk.partitions.table import BIOS_BOOT, EFI_SYSTEM, Partition, Role
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal
from growdisk.planner.refusals import CannotGrow, belongs_to_others, nothing_to_grow

_HASHED_BLOCK = 4096  # the largest that dm-verity and dm-integrity take
_VERIFIED = "rebuild the image with what built it; or grow another partition (--partition)"
# Known by its second header alone.
_HALF_LUKS = "LUKS2 (crypto_LUKS) whose first header is damaged (cryptsetup repair writes it again)"
INSIDE = "grow it from inside the system that uses it"
# Read-only: what holds one starts from it, and writes elsewhere (OpenWrt, appliances).
_WHOLE_SYSTEMS = ("squashfs", "erofs", "cramfs", "romfs")
_MBR_EFI_SYSTEM = "ef"
_REST_STAYS = "let it be moved (--move), or take it out in the guest first"


def refuse_foreign_disk(facts: Facts) -> None:
    """Refuse a disk that belongs to an array: the array's metadata at its end must stay there."""
    content = facts.contents.get(0)
    owner = facts.owner or (
        content.kind if isinstance(content, ForeignContent) and content.member else ""
    )
    if owner:
        reason = f"the whole disk belongs to something larger: {owner}"
        # By its second header alone: with the first one sound, it is LUKS and no foreign content.
        if owner == "crypto_LUKS":
            reason = f"the whole disk is {_HALF_LUKS}"
        raise belongs_to_others(facts.image.path, 0, reason=reason, hint=INSIDE)


def refuse_hidden_main(facts: Facts, goal: Goal) -> None:
    """Raise nothing-to-grow if the partition that people would mean belongs to others.

    Its /boot is not what they mean.
    """
    largest = max(facts.members, key=lambda part: part.size, default=None)
    if goal.partition != "auto" or goal.grow or largest is None or facts.main is None:
        return
    if largest.size > facts.main.size:
        name, other = facts.name_of(largest.number), facts.main.number
        held = content_in_words(facts.contents[largest.number])
        reason = f"{name}, its largest partition, holds {held}"
        raise nothing_to_grow(
            facts.image.path, reason=f"{reason}; --partition {other} grows {facts.name_of(other)}"
        )


def refuse_target(facts: Facts, part: Partition) -> None:
    """Refuse to grow a partition that is not ours to change.

    That is one that belongs to others, whose hashes are stored elsewhere, or that is marked to stay
    as it is.
    """
    refuse_partition(facts, part)
    content = facts.contents.get(part.number)
    for number, other in facts.contents.items():
        # The hashes do not say whose they are. If they cover as many whole blocks as the partition,
        # or the file system in it, has, they are taken to be its own.
        sizes = (part.size, (content and content.size) or part.size)
        if isinstance(other, ForeignContent) and any(
            other.hashed and 0 <= size - other.hashed < _HASHED_BLOCK for size in sizes
        ):
            reason = f"{facts.name_of(number)} has the hashes of all its bytes ({other.kind})"
            hint = _VERIFIED if other.kind == "DM_verity_hash" else INSIDE
            raise belongs_to_others(facts.image.path, part.number, reason, hint)
    if part.read_only:
        reason = "its entry in the GPT says that it is read-only (bit 60)"
        hint = f"if it may be written to: sgdisk -A {part.number}:clear:60, {FOR_TABLE_TOOLS}"
        raise belongs_to_others(facts.image.path, part.number, reason, hint)


def refuse_foreign_blockers(facts: Facts, number: int, growth: NotPossible) -> None:
    """CannotGrow where what stands in the way is somebody else's: no consent would help."""
    for part in growth.blockers:
        if words := whose(facts, part):
            reason = f"{growth.reason}; {facts.name_of(part.number)} {words}"
            hint = f"growdisk does not touch that: {INSIDE}"
            raise CannotGrow(facts.image.path, number, reason, hint)


def refuse_foreign(facts: Facts, goal: Goal, growth: Grown, targets: Collection[int]) -> None:
    """Refuse to grow, move or remove a partition of others, for the new table."""
    given_up = _given_up(goal, growth)
    grown = (part for part in growth.table.partitions if part.number in targets)
    for part in (*grown, *growth.moved, *growth.removed):
        # `part` is as it will be; signatures and types are those of now.
        old = facts.table.by_number(part.number) if facts.table else None
        if old is not None:
            refuse_partition(facts, old, consented=old.number in given_up)
    removed = {part.number for part in growth.removed}
    for number in sorted(removed):
        if words := rest_of(facts, number, removed):
            raise belongs_to_others(facts.image.path, number, reason=words, hint=_REST_STAYS)


def rest_of(facts: Facts, number: int, gone: Collection[int]) -> str:
    """What would lose a part of itself with that partition, in words; "" if nothing would."""
    going = [content.uuid for content in facts.all_within(*gone)]
    staying = [*facts.all_within(*(n for n in facts.contents if n not in gone))]
    for group in facts.groups_on(number):
        if {volume.uuid for volume in group.physical_volumes} - {*going}:
            return f"the volume group {group.name} lies on it and on others"
    for content in facts.all_within(number):
        match content:
            case BtrfsContent() if content.devices > going.count(content.uuid):
                return f"it is one of the {content.devices} devices of a btrfs"
            case JournalContent(uuid=uuid):
                if any(isinstance(c, ExtContent) and c.external_journal == uuid for c in staying):
                    return "it has the journal of another file system of the disk"
    return ""


def is_needed(facts: Facts, part: Partition) -> bool:
    """Whether the guest cannot do without it: nobody is advised to remove it."""
    return (
        part.number in facts.homes
        or part.bootable
        or part.type_code in (EFI_SYSTEM, _MBR_EFI_SYSTEM)
        or facts.kind_of(part.number) in _WHOLE_SYSTEMS
        or _has_windows(facts, part)
        or bool(rest_of(facts, part.number, {part.number}))
    )


def is_fixed(facts: Facts, part: Partition) -> bool:
    """Whether it is not moved, with whatever consent: nobody is advised to move it."""
    return (
        part.type_code == BIOS_BOOT
        or facts.is_known_by_sectors(part.number)
        or is_known_by_place(facts, part)
        or bool(_objection(facts.contents.get(part.number), part, consented=False))
    )


def is_known_by_place(facts: Facts, part: Partition) -> bool:
    """Whether Windows starts from it: on an MBR disk its BCD has disk signature and start."""
    is_mbr = facts.table is not None and facts.table.kind == "mbr"
    starts = part.bootable and facts.kind_of(part.number) == "ntfs"
    return is_mbr and (starts or _has_windows(facts, part))


def _has_windows(facts: Facts, part: Partition) -> bool:
    content = facts.contents.get(part.number)
    return isinstance(content, NtfsContent) and content.system


def refuse_partition(facts: Facts, part: Partition, *, consented: bool = False) -> None:
    """`consented`: it was named to be given up, which a type alone does not prevent."""
    if found := _objection(facts.contents.get(part.number), part, consented=consented):
        raise belongs_to_others(facts.image.path, part.number, *found)


def _objection(
    content: Content | None, part: Partition, *, consented: bool
) -> tuple[str, str] | None:
    """Why a partition must stay as it is, and a hint."""
    # Consent is enough for a file system that growdisk does not know, not for a member: what it
    # belongs to lies elsewhere, too.
    if isinstance(content, ForeignContent) and (content.member or not consented):
        return f"it holds {content_in_words(content)}", _hint(content)
    if isinstance(content, AmbiguousContent):
        return (
            f"it has the signatures of {content_in_words(content)} at once",
            "find out which of them is true, and take the others away (wipefs -t KIND -a, in the "
            "guest)",
        )
    if (owner := owner_of(part)) and not consented:
        return (
            f"its type, {part.type_code}, says that it belongs to {owner}",
            f"{INSIDE}; if the type is wrong, correct it: sfdisk --part-type DISK {part.number} "
            f"TYPE ({FOR_TABLE_TOOLS})",
        )
    return None


def whose(facts: Facts, part: Partition) -> str:
    """Whose a partition is, in words; "" if nobody else's.

    "holds drbd", "is of type fd, which says that it belongs to Linux RAID".
    """
    content = facts.contents.get(part.number)
    if isinstance(content, ForeignContent) and content.member:
        return f"holds {content_in_words(content)}"
    if isinstance(content, AmbiguousContent):
        return f"has the signatures of {content_in_words(content)} at once"
    if owner := owner_of(part):
        return f"is of type {part.type_code}, which says that it belongs to {owner}"
    return ""


def content_in_words(content: Content | None) -> str:
    match content:
        case AmbiguousContent():
            return " and ".join(content.candidates)
        case ForeignContent() if content.over:
            return (
                f"{content.kind}, although it looks like {' and '.join(content.over)} at its start"
            )
        case ForeignContent(kind=kind) if kind in (GPT_KIND, MBR_KIND):
            return f"a partition table of its own ({kind})"
        case ForeignContent(kind="crypto_LUKS"):
            return _HALF_LUKS
        case None:
            return "nothing that growdisk knows"
    return content.kind


def _hint(content: ForeignContent) -> str:
    if not content.member:
        return "growdisk does not know how it wants to be handled: use its own tools"
    how = "" if content.kind in UNKNOWN_TO_BLKID else f" (wipefs -t {content.kind} -a)"
    return f"{INSIDE}; if that is no more, take its signature away there{how}"


def _given_up(goal: Goal, growth: Grown) -> set[int]:
    """What was named with --delete; an extended partition's number speaks for what is in it."""
    whole = any(p.role is Role.EXTENDED and p.number in goal.delete for p in growth.removed)
    return {
        p.number
        for p in growth.removed
        if p.number in goal.delete or (whole and p.role is Role.LOGICAL)
    }
