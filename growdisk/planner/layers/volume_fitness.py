"""Why LVM would not let a volume group, or a volume of it, grow, by its own metadata."""

from __future__ import annotations

from growdisk.filesystems.volume_group import LogicalVolume, VolumeGroup

# WRITE_LOCKED keeps old versions of LVM off groups with a system ID.
_WRITABLE = frozenset({"WRITE", "WRITE_LOCKED"})
_INSIDE = "grow it in the guest (pvresize, lvextend)"


def why_not_group(
    group: VolumeGroup, name: str, *, inside_a_volume: bool
) -> tuple[str, str] | None:
    """Why a group cannot grow, and a hint; None if it can.

    `name` is what people call its physical volume, which may be in a volume of another group.
    """
    subject = f"its volume group {group.name}"
    if inside_a_volume:
        return f"{subject} stands in a logical volume, where LVM does not look for any", _INSIDE
    if "EXPORTED" in group.status:
        return f"{subject} is exported", f"import it first, in the guest: vgimport {group.name}"
    if "RESIZEABLE" not in group.status:
        return (
            f"{subject} is marked as not resizable",
            f"in the guest: vgchange --resizeable y {group.name}",
        )
    if _WRITABLE.isdisjoint(group.status):
        return f"{subject} is read-only", _INSIDE
    if "CLUSTERED" in group.status or group.lock_type not in ("", "none"):
        return f"{subject} is shared with other machines, whose locks hold only there", _INSIDE
    # The flag stays when the device is back, until --restoremissing.
    if any("MISSING" in volume.flags for volume in group.physical_volumes):
        return (
            f"{subject} says that a physical volume was missing",
            f"in the guest: vgextend --restoremissing {group.name}",
        )
    if not group.own_volume.is_allocatable:
        reason = (
            f"{name} is a physical volume that takes no more allocations (pvchange --allocatable n)"
        )
        return reason, "in the guest: pvchange --allocatable y, on that physical volume"
    return None


def why_not_volume(group: VolumeGroup, volume: LogicalVolume) -> str:
    """Why a volume cannot grow here; "" if it can."""
    if volume.kind == "thin":
        return (
            "is thin: its size is only a promise, what it takes comes from its pool, and "
            "growdisk grows no pools"
        )
    if volume.kind == "thin-pool":
        return (
            "is a thin pool: data and metadata would have to grow by rules of the guest's, "
            "which growdisk has not"
        )
    if volume.name in group.snapshotted:
        return "has an LVM snapshot, or is one: it would have to be merged or removed first"
    if not volume.is_linear:
        return f"is {volume.kind}, and growdisk grows linear volumes"
    # pvmove locks what it moves, and lets it lie on a hidden volume meanwhile.
    if "LOCKED" in volume.flags or not _lies_on_physical_volumes(group, volume):
        return "is locked: its data are being moved (pvmove), or were when the guest stopped"
    if _WRITABLE.isdisjoint(volume.flags):
        return f"is read-only (in the guest: lvchange --permission rw {group.name}/{volume.name})"
    if "FIXED_MINOR" in volume.flags:
        fixed = f"lvchange --persistent n {group.name}/{volume.name}"
        return (
            f"has a persistent device number, which it could not have here (in the guest: {fixed})"
        )
    return ""


def why_no_room(group: VolumeGroup, volume: LogicalVolume, own_extents: int) -> str:
    """Why its allocation policy leaves it nothing; "" if it may have more."""
    if own_extents == group.own_volume.pe_count or group.room_for(volume, own_extents) != 0:
        return ""  # also where nothing is to be had: it is as large as it gets
    policy = volume.allocation or group.allocation
    where = (
        "right behind it" if policy == "contiguous" else "on the physical volume that it ends on"
    )
    return (
        f"has the allocation policy {policy}, and there is no room {where} (in the guest: "
        f"lvchange --alloc normal {group.name}/{volume.name})"
    )


def _lies_on_physical_volumes(group: VolumeGroup, volume: LogicalVolume) -> bool:
    keys = {physical.key for physical in group.physical_volumes}
    return all(key in keys for segment in volume.segments for key, _ in segment.areas)
