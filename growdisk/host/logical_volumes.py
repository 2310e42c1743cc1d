"""The host's logical volumes, as `lvs` reports them.

Spec: lvs(8), lvmreport(7), lvmthin(7), lvmsystemid(7).
"""

from __future__ import annotations

import os

from growdisk.fast_dataclass import dataclass
from growdisk.host.command import run
from growdisk.host.json_codec import NotThatValue, decoded

_SECONDS = 60.0
_METADATA_FULL = 95.0


@dataclass(frozen=True)
class HostVolume:
    """The columns of lvs that growdisk asks for, by lvs' names; "" if one does not apply."""

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
    vg_systemid: str

    @property
    def name(self) -> str:
        return f"{self.vg_name}/{self.lv_name}"


@dataclass(frozen=True)
class PoolUse:
    """Of a thin pool: its size in bytes, and how much is taken, in percent."""

    size: int
    data: float
    metadata: float

    @property
    def is_full(self) -> bool:
        return self.data >= 100 or self.metadata >= _METADATA_FULL

    @property
    def free(self) -> int:
        """Bytes that it can still take.

        If its metadata are nearly full, that is as little as of those.
        """
        taken = self.data if self.metadata < _METADATA_FULL else max(self.data, self.metadata)
        return int(self.size * (100 - taken) / 100)


@dataclass(frozen=True)
class _Report:
    lv: tuple[HostVolume, ...]


@dataclass(frozen=True)
class _Reports:
    report: tuple[_Report, ...]


def lvs() -> list[HostVolume]:
    """All of them, hidden ones as well. ToolFailed, ToolMissing, NotThatValue."""
    # The names of the fields are lvs's names of the columns.
    columns = ",".join(HostVolume.__annotations__)
    words = ["lvs", "--all", "--reportformat", "json", "--units", "b", "--nosuffix", "-o", columns]
    return volumes_in(run(words, timeout=_SECONDS).stdout.encode())


def volumes_in(report: bytes) -> list[HostVolume]:
    """The same, in what lvs said. NotThatValue."""
    return [volume for part in decoded(report, _Reports).report for volume in part.lv]


def own_system_id() -> str:
    """What this host calls itself on storage that several hosts share; "" if it has no name."""
    # It prints "  system ID: NAME".
    return run(["lvm", "systemid"], timeout=_SECONDS).stdout.partition(":")[2].strip()


def with_number(volumes: list[HostVolume], number: int) -> HostVolume | None:
    wanted = (str(os.major(number)), str(os.minor(number)))
    return next((v for v in volumes if (v.lv_kernel_major, v.lv_kernel_minor) == wanted), None)


def pool_of(own: HostVolume, volumes: list[HostVolume]) -> HostVolume | None:
    """The thin pool that a volume lies in."""
    if not own.pool_lv:
        return None
    return next((v for v in volumes if (v.vg_name, v.lv_name) == (own.vg_name, own.pool_lv)), None)


def use_of_pool(pool: HostVolume) -> PoolUse:
    """NotThatValue, if its columns hold no numbers."""
    try:
        return PoolUse(
            int(pool.lv_size), float(pool.data_percent or 0), float(pool.metadata_percent or 0)
        )
    except ValueError as error:
        raise NotThatValue(str(error)) from error
