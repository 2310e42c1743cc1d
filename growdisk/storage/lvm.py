"""Logical volumes of the host, thick and thin, by lvextend and lvreduce. Spec: lvextend(8), lvs(8), lvmthin(7)."""

from __future__ import annotations

import os

from growdisk.fast_dataclass import dataclass
from growdisk.host.command import run
from growdisk.host.json_codec import decoded
from growdisk.storage.values import Storage
from growdisk.units import format_size

_COLUMNS = (
    "lv_kernel_major,lv_kernel_minor,vg_name,lv_name,pool_lv,lv_size,vg_free,vg_extent_size,data_percent,"
    "metadata_percent,lv_role"
)
_FULL = 95.0
_SECONDS = 60.0


@dataclass(frozen=True)
class _Volume:
    lv_kernel_major: str
    lv_kernel_minor: str
    vg_name: str
    lv_name: str
    pool_lv: str
    lv_size: str
    vg_free: str
    vg_extent_size: str
    data_percent: str
    metadata_percent: str
    lv_role: str

    @property
    def name(self) -> str:
        return f"{self.vg_name}/{self.lv_name}"


@dataclass(frozen=True)
class _Report:
    lv: tuple[_Volume, ...]


@dataclass(frozen=True)
class _Reports:
    report: tuple[_Report, ...]


def look(number: int) -> Storage:
    """The logical volume with this device number. ToolFailed, ToolMissing, NotThatValue."""
    words = ["lvs", "--all", "--reportformat", "json", "--units", "b", "--nosuffix", "-o", _COLUMNS]
    return storage_in(run(words, timeout=_SECONDS).stdout.encode(), os.major(number), os.minor(number))


def storage_in(report: bytes, major: int, minor: int) -> Storage:
    """The same, in what lvs said."""
    volumes = [volume for part in decoded(report, _Reports).report for volume in part.lv]
    own = next((v for v in volumes if (v.lv_kernel_major, v.lv_kernel_minor) == (str(major), str(minor))), None)
    if own is None:
        return Storage("other", "", obstacle="LVM does not list it", hint="see what lvs says")
    unit, place = int(own.vg_extent_size), f"the volume group {own.vg_name}"
    if "snapshot" in own.lv_role.split(",") and not own.pool_lv:
        reason, hint = "it is a snapshot of another volume", "grow its origin, or merge it first"
        return Storage("lvm", own.name, unit, obstacle=reason, hint=hint)
    if not own.pool_lv:
        return Storage("lvm", own.name, unit, int(own.vg_free), place)
    pool = next((v for v in volumes if (v.vg_name, v.lv_name) == (own.vg_name, own.pool_lv)), None)
    return _thin(own, pool, unit) if pool else Storage("lvm", own.name, unit)


def _thin(own: _Volume, pool: _Volume, unit: int) -> Storage:
    """Its size is a promise: the pool must have something to keep it with."""
    size, used, metadata = int(pool.lv_size), float(pool.data_percent or 0), float(pool.metadata_percent or 0)
    free = int(size * (100 - used) / 100)
    place = f"the thin pool {pool.name}"
    if used >= 100 or metadata >= _FULL:
        reason = f"{place} is full ({used:.0f} % of its data, {metadata:.0f} % of its metadata)"
        return Storage("lvm", own.name, unit, obstacle=reason, hint=f"extend the pool (lvextend {pool.name})")
    return Storage("lvm", own.name, unit, None, place, notes=(f"{place} has {format_size(free)} free",))


def rehearse(name: str, size: int) -> None:
    """Let LVM itself say whether it could, by its own rules of allocation. ToolFailed."""
    run(["lvextend", "--test", "--yes", "--size", f"{size}b", name], timeout=_SECONDS)


def resize(name: str, size: int, *, smaller: bool) -> None:
    words = ["lvreduce", "--force"] if smaller else ["lvextend"]
    run([*words, "--yes", "--size", f"{size}b", name], timeout=_SECONDS)
