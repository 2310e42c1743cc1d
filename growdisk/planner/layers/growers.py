"""How far each kind of content grows once its device has: file systems, what LUKS encrypts.

Other content can still be asked for by number: then the partition alone grows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from growdisk.errors import KeyNeeded
from growdisk.fast_dataclass import replace
from growdisk.filesystems.btrfs import grown_btrfs
from growdisk.filesystems.content import (
    AmbiguousContent,
    BtrfsContent,
    Content,
    ExtContent,
    F2fsContent,
    ForeignContent,
    LuksContent,
    NtfsContent,
    PhysicalVolumeContent,
    XfsContent,
)
from growdisk.filesystems.ext_growth import grown_size, most_blocks
from growdisk.filesystems.f2fs import grown_f2fs
from growdisk.filesystems.ntfs import grown_ntfs
from growdisk.filesystems.xfs import group_count, grown_xfs
from growdisk.partitions.table import FIRST_DISK, Partition
from growdisk.planner.facts import Facts
from growdisk.planner.foreign import INSIDE, content_in_words
from growdisk.planner.goal import Goal
from growdisk.planner.host_need import host_writes_of
from growdisk.planner.layers.content_growth import ContentGrowth, GrowthTarget
from growdisk.planner.layers.lvm import grow_physical_volume
from growdisk.planner.refusals import CannotGrow
from growdisk.steps.device_path import DevicePath, LuksLayer, LvLayer
from growdisk.steps.grow_filesystem import GrowFilesystem, is_plain_ext
from growdisk.steps.grow_layers import GrowLuks
from growdisk.units import MiB, align_down, format_size

_WHOLE: Mapping[type[object], str] = MappingProxyType(
    {LuksLayer: "the container", LvLayer: "the logical volume"}
)


def grow_contents(facts: Facts, goal: Goal, parts: Sequence[Partition]) -> dict[int, ContentGrowth]:
    """What is to do inside each of the partitions, which are as they will be, by number."""
    _refuse_growing_twice(facts, parts)
    found = dict[int, ContentGrowth]()
    for part in parts:
        # In the names of steps every disk is sda: ExtraDiskStep puts the right name in.
        suffix = f"-{FIRST_DISK}{part.number}" if found else ""
        place = DevicePath(part.number, part.start, part.size)
        content = facts.contents.get(part.number)
        target = GrowthTarget(facts, goal, place, content, part.size, suffix)
        found[part.number] = grow_inside(target)
    return found


def _refuse_growing_twice(facts: Facts, parts: Sequence[Partition]) -> None:
    """What the volumes of a group get is counted for one of its physical volumes."""
    seen = dict[str, int]()
    for part in parts:
        content = facts.contents.get(part.number)
        group = content.group if isinstance(content, PhysicalVolumeContent) else None
        if group and (first := seen.setdefault(group.uuid, part.number)) != part.number:
            raise CannotGrow(
                facts.image.path,
                first,
                reason=f"another physical volume of its volume group {group.name} is to grow in "
                "the same run",
                hint="let them grow one after the other",
            )


def grow_inside(target: GrowthTarget) -> ContentGrowth:
    """What is to do inside `target`. Raises Refused errors, which name the image."""
    match content := target.content:
        # What holds others asks this function again for them.
        case LuksContent():
            return _grow_luks(target, content)
        case PhysicalVolumeContent():
            return grow_physical_volume(target, content, grow_inside)
        case ExtContent():
            return _grow_ext(target, content)
        case XfsContent():
            return _grow_xfs(target, content)
        case BtrfsContent():
            return _grow_btrfs(target, content)
        case NtfsContent():
            return _grow_ntfs(target, content)
        case F2fsContent():
            wanted = grown_f2fs(content, target.size)
            # On several devices it is larger than this one, and nothing was cut off.
            if wanted > target.size and content.unfit:
                raise target.refusal(content.unfit, INSIDE)
            return _growth_step(target, content, wanted, mountable=False)
        case ForeignContent() | AmbiguousContent():
            raise target.refusal(f"{target.name} holds {content_in_words(content)}", INSIDE)
    what = content.kind if content is not None else "unknown content"
    whole = _WHOLE.get(type(target.place.innermost), "the partition")
    note = f"{target.name} holds {what}, which growdisk does not grow: {whole} alone is larger"
    return ContentGrowth((), content, pending=False, system="", notes=(note,))


def _growth_step(
    target: GrowthTarget,
    content: Content,
    wanted: int,
    *,
    mountable: bool,
    notes: tuple[str, ...] = (),
) -> ContentGrowth:
    """One step to `wanted` bytes. `mountable`: the guest's own files can be looked for in it."""
    old, place = content.size or 0, target.place
    # Right in its partition ext is one kind for all that work on it: such a step says no more.
    plain = is_plain_ext(content.kind, place.layers)
    if (missing := old - target.size) > 0:
        subject = "its file system" if plain else f"the file system on {target.name}"
        raise target.refusal(
            f"{subject} is larger than it: {format_size(missing)} are missing",
            "was the partition or the image cut off? Grow to at least the old size, or restore a "
            "backup",
        )
    step = GrowFilesystem(
        place.number,
        place.start,
        place.size,
        content.uuid,
        old,
        wanted,
        suffix=target.suffix,
        kind=GrowFilesystem.kind if plain else content.kind,
        layers=place.layers,
    )
    return ContentGrowth(
        (step,),
        replace(content, size=wanted),
        # A file system that fills its space is no reason to plan; its step will be skipped.
        pending=wanted > old,
        system=place.device if mountable else "",
        free=(target.size if plain else wanted) - (content.used or 0),
        notes=notes if wanted > old else (),
        host_writes=host_writes_of(content, wanted),
    )


# ext2, ext3 and ext4: one step, resize2fs.


def _grow_ext(target: GrowthTarget, content: ExtContent) -> ContentGrowth:
    wanted = grown_size(content, target.size)
    _refuse_too_many_blocks(target, content, wanted)
    return _growth_step(target, content, wanted, mountable=True)


def _refuse_too_many_blocks(target: GrowthTarget, content: ExtContent, wanted: int) -> None:
    limit = (1 << 32) * content.block_size
    if wanted >= limit and not content.has_64bit:
        raise target.refusal(
            f"its {content.kind} counts blocks in 32 bits: it can have {format_size(limit)} at "
            "most",
            "grow it to less than that; resize2fs -b makes a file system that is at rest count in "
            "64 bits",
        )
    most = most_blocks(content) * content.block_size
    if wanted > max(most, content.size or 0):
        raise target.refusal(
            f"its {content.kind} was made so small that its tables end at {format_size(most)}; it "
            f"would have {format_size(wanted)}",
            "grow it to less than that, or copy its files into a new file system",
        )


# XFS and btrfs, which the kernel grows while they are mounted.

# mkfs makes 4 on a disk, 32 on an array; with hundreds, XFS searches long for space
_MANY_GROUPS = 64
_EXPLOSION = 4
_LEAST_BTRFS = 256 * MiB  # Linux fs/btrfs/ioctl.c, btrfs_ioctl_resize


def _grow_xfs(target: GrowthTarget, content: XfsContent) -> ContentGrowth:
    wanted = grown_xfs(content, target.size)
    # XFS never makes its groups larger: the file system gets more of them.
    before, after = content.ag_count, group_count(content, wanted)
    notes: tuple[str, ...] = ()
    if after > _MANY_GROUPS and after >= _EXPLOSION * before:
        notes = (
            f"XFS on {target.name} will have {after} allocation groups instead of {before}, "
            "because it was made that small: it works, but slower than a new one",
        )
    inside = _growth_step(target, content, wanted, mountable=True, notes=notes)
    return replace(inside, content=replace(content, size=wanted, ag_count=after))


def _grow_btrfs(target: GrowthTarget, content: BtrfsContent) -> ContentGrowth:
    if content.devices != 1:
        raise target.refusal(
            f"its btrfs lies on {content.devices} devices, of which this is one",
            "grow it from inside the guest: btrfs filesystem resize DEVICE-ID:max PATH",
        )
    wanted = grown_btrfs(content, target.size)
    if (content.size or 0) < wanted < _LEAST_BTRFS:
        raise target.refusal(
            f"the kernel resizes no btrfs to less than {format_size(_LEAST_BTRFS)}, and it would "
            f"have {format_size(wanted)}",
            f"grow it to at least {format_size(_LEAST_BTRFS)}",
        )
    return _growth_step(target, content, wanted, mountable=True)


# NTFS and F2FS, which their own tools grow while nobody has them mounted.


def _grow_ntfs(target: GrowthTarget, content: NtfsContent) -> ContentGrowth:
    wanted = grown_ntfs(content, target.size)
    # A volume that already fills its partition may be dirty: nothing will touch it.
    if wanted > (content.size or 0) and content.dirty:
        raise target.refusal(
            "its NTFS is marked as dirty: Windows wants to check it first, as after any resizing",
            "start Windows, let it check the volume (chkdsk /f) and shut it down",
        )
    if wanted > (content.size or 0) and content.has_bad_clusters:
        raise target.refusal(
            "its NTFS has clusters that are marked as bad, with which ntfsresize does nothing",
            "if they were those of an older disk, let Windows test them again: chkdsk /b",
        )
    note = f"Windows will check {target.name} at its next start, as it does after any resizing"
    return _growth_step(target, content, wanted, mountable=False, notes=(note,))


# An encrypted container reaches to the end of its device by itself, once it is opened.

_INSIDE = "grow it from inside the guest"


def _grow_luks(target: GrowthTarget, content: LuksContent) -> ContentGrowth:
    if content.fixed:
        raise target.refusal(
            f"it is encrypted (LUKS), and {content.fixed}", content.cure or _INSIDE
        )
    if content.payload >= target.size:
        raise target.refusal(
            "its header says that its encrypted data begin beyond its end", _INSIDE
        )
    if not content.unlocked:
        return _locked(target, content)
    place = target.place.within_luks(content.uuid)
    size = align_down(target.size - content.payload, content.sector_size)
    # LUKS2 with sectors of 4096 bytes, on a device that is not a multiple of them.
    if size != target.size - content.payload:
        raise target.refusal(
            f"it has sectors of {content.sector_size} bytes, and cryptsetup opens it only where it "
            "is a multiple of them long",
            "choose a size in whole MiB",
        )
    inside = grow_inside(target.within(place, content.inside, size))
    old = content.size or size
    # The journal knows steps by their names: a container within another has its own.
    outer = sum(isinstance(layer, LuksLayer) for layer in target.place.chain)
    suffix = f"{target.suffix}-{outer + 1}" if outer else target.suffix
    step = GrowLuks(place, old, size, suffix)
    return replace(
        inside,
        steps=(step, *inside.steps),
        content=replace(content, size=size, inside=inside.content),
        # Opening the container makes it as large as its device: the layer itself never lags.
        pending=inside.pending,
    )


def notes_on_tpm(facts: Facts, registers: frozenset[int], measured: str) -> Iterator[str]:
    """What `registers` measure changes: a TPM that goes by them opens no container any more."""
    for number, content in facts.contents.items():
        if isinstance(content, LuksContent) and (found := content.registers & registers):
            yield (
                f"{facts.name_of(number)}: its TPM token goes by PCR "
                f"{' and '.join(map(str, sorted(found)))}, and {measured} changes: the guest asks "
                "for the passphrase at its next start (systemd-cryptenroll, or clevis luks regen, "
                "binds it again)"
            )


def _locked(target: GrowthTarget, content: LuksContent) -> ContentGrowth:
    name = target.name
    # Named without a key: only the partition was meant. A key that was given must open it.
    if target.is_named and not content.tried:
        note = (
            f"{name} is encrypted, and no key was given: the partition alone is larger. The "
            "container takes that when it is opened next; what is in it has to be grown from "
            "inside the guest"
        )
        return ContentGrowth((), content, pending=False, system="", notes=(note,))
    reason = "what is in it grows with its passphrase only"
    if content.tried:
        reason = "no passphrase that was given opens it"
    raise KeyNeeded(
        target.facts.image.path,
        reason=f"{name} is encrypted (LUKS), and {reason}; --partition {name} without a key grows "
        "the partition alone",
    )
