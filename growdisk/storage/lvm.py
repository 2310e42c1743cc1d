"""Logical volumes of the host, thick and thin, by lvextend and lvreduce.

Spec: lvextend(8), lvs(8), lvmthin(7).
"""

from __future__ import annotations

from growdisk.host.command import run
from growdisk.host.logical_volumes import (
    HostVolume,
    lvs,
    own_system_id,
    pool_of,
    use_of_pool,
    with_number,
)
from growdisk.storage.values import Storage, unmanaged
from growdisk.units import format_size

_SECONDS = 60.0


def look(number: int) -> Storage:
    """The logical volume with this device number. ToolFailed, ToolMissing, NotThatValue."""
    return storage_in(lvs(), number)


def foreign_owner(number: int) -> str:
    """The system ID of another host that owns the volume's group; "" if there is none.

    ToolFailed, ToolMissing, NotThatValue.
    """
    own = with_number(lvs(), number)
    owner = own.vg_systemid if own else ""
    return owner if owner and owner != own_system_id() else ""


def storage_in(volumes: list[HostVolume], number: int) -> Storage:
    """The same, among all `volumes` of the host. NotThatValue."""
    own = with_number(volumes, number)
    if own is None:
        return unmanaged("LVM does not list it", "see what lvs says")
    unit, place = int(own.vg_extent_size), f"the volume group {own.vg_name}"
    # Of a thick snapshot lvextend would grow the store of changes alone. A thin one is a volume
    # like any other.
    if "snapshot" in own.lv_role.split(",") and not own.pool_lv:
        reason, hint = "it is a snapshot of another volume", "grow its origin, or merge it first"
        return Storage("lvm", own.name, unit, obstacle=reason, hint=hint)
    if not own.pool_lv:
        return Storage("lvm", own.name, unit, int(own.vg_free), place)
    pool = pool_of(own, volumes)
    return _thin(own, pool, unit) if pool else Storage("lvm", own.name, unit)


def _thin(own: HostVolume, pool: HostVolume, unit: int) -> Storage:
    """Its size is a promise: the pool must have something to keep it with."""
    use, place = use_of_pool(pool), f"the thin pool {pool.name}"
    if use.is_full:
        shares = f"{use.data:.0f} % of its data, {use.metadata:.0f} % of its metadata"
        reason, hint = f"{place} is full ({shares})", f"extend the pool (lvextend {pool.name})"
        return Storage("lvm", own.name, unit, obstacle=reason, hint=hint)
    note = f"{place} has {format_size(use.free)} free"
    return Storage("lvm", own.name, unit, None, place, notes=(note,))


def rehearse(name: str, size: int) -> None:
    """Let LVM itself say whether it could, by its own rules of allocation. ToolFailed."""
    run(["lvextend", "--test", "--yes", "--size", f"{size}b", name], timeout=_SECONDS)


def resize(name: str, size: int, *, smaller: bool) -> None:
    # Only ever back to the size from before the run.
    words = ["lvreduce", "--force"] if smaller else ["lvextend"]
    run([*words, "--yes", "--size", f"{size}b", name], timeout=_SECONDS)
