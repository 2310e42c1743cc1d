"""XFS and btrfs, which the kernel grows while they are mounted."""

from __future__ import annotations

from growdisk.fast_dataclass import replace
from growdisk.filesystems.btrfs import grown_btrfs
from growdisk.filesystems.content import BtrfsContent, XfsContent
from growdisk.filesystems.xfs import group_count, grown_xfs
from growdisk.planner.layers.content_growth import ContentGrowth, GrowthTarget
from growdisk.planner.layers.file_systems import cannot_grow, grown
from growdisk.units import MiB, format_size

_MANY_GROUPS = 64  # mkfs makes 4 on a disk, 32 on an array; with hundreds, XFS searches long for space
_EXPLOSION = 4
_LEAST_BTRFS = 256 * MiB  # Linux fs/btrfs/ioctl.c, btrfs_ioctl_resize


def grow_xfs(room: GrowthTarget) -> ContentGrowth:
    content = room.content
    assert isinstance(content, XfsContent), content
    wanted = grown_xfs(content, room.size)
    before, after = content.ag_count, group_count(content, wanted)
    notes: tuple[str, ...] = ()
    if after > _MANY_GROUPS and after >= _EXPLOSION * before:
        notes = (
            f"XFS on {room.place.name} will have {after} allocation groups instead of {before}, because it was made "
            "that small: it works, but slower than one that is made anew",
        )
    inside = grown(room, content, wanted, mountable=True, notes=notes)
    return replace(inside, content=replace(content, size=wanted, ag_count=after))


def grow_btrfs(room: GrowthTarget) -> ContentGrowth:
    content = room.content
    assert isinstance(content, BtrfsContent), content
    if content.devices != 1:
        raise cannot_grow(
            room, f"its btrfs lies on {content.devices} devices, of which this is one",
            "grow it from inside the guest: btrfs filesystem resize DEVICE-ID:max PATH",
        )  # fmt: skip
    wanted = grown_btrfs(content, room.size)
    if (content.size or 0) < wanted < _LEAST_BTRFS:
        raise cannot_grow(
            room, f"the kernel resizes no btrfs to less than {format_size(_LEAST_BTRFS)}, and it would have "
            f"{format_size(wanted)}", f"grow it to at least {format_size(_LEAST_BTRFS)}",
        )  # fmt: skip
    return grown(room, content, wanted, mountable=True)
