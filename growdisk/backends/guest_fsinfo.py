"""What the agent of a running guest says of its mounted file systems (guest-get-fsinfo): no command runs in there.

The guest's words, not to be trusted: numbers out of bounds are left out. Agents older than QEMU 2.12 tell no sizes.
"""

from __future__ import annotations

from growdisk.fast_dataclass import dataclass
from growdisk.host.json_codec import NotThatValue, converted
from growdisk.live.agent_values import AgentCall, AgentError, fields

_MOST = 1 << 70  # bytes
_PSEUDO = ("squashfs", "iso9660", "udf", "tmpfs", "overlay", "CDFS", "UDF")


@dataclass(frozen=True)
class GuestDisk:
    """Of a disk that a file system lies on: `device` as the guest names it ("/dev/vda1"), its serial number."""

    device: str = ""
    serial: str = ""


@dataclass(frozen=True)
class GuestFileSystem:
    """Sizes in bytes. `used` counts what root keeps for itself as used no more than the guest's df does."""

    mount_point: str
    kind: str
    size: int
    used: int
    disks: tuple[GuestDisk, ...] = ()


class FsInfoMissing(Exception):
    """The agent does not answer, or not so; the message says why."""


def file_systems_in_guest(call: AgentCall, seconds: float) -> tuple[GuestFileSystem, ...]:
    """FsInfoMissing where it cannot be asked."""
    try:
        answer = call("guest-get-fsinfo", {}, seconds)
        found = [_known(each) for each in answer] if isinstance(answer, list) else []
    except (AgentError, OSError, NotThatValue) as error:
        raise FsInfoMissing(str(error) or "its agent does not answer") from error
    return tuple({one.mount_point: one for one in found if one is not None}.values())


@dataclass(frozen=True)
class _Disk:
    dev: str = ""
    serial: str = ""


def _known(told: object) -> GuestFileSystem | None:
    entry = fields(told)
    if not isinstance(entry, dict):
        return None
    size, used = entry.get("total_bytes"), entry.get("used_bytes")
    if not (isinstance(size, int) and isinstance(used, int) and 0 < size < _MOST and 0 <= used <= size):
        return None
    mount_point, kind = str(entry.get("mountpoint", "")), str(entry.get("type", ""))
    if kind in _PSEUDO:
        return None
    disks = converted(entry.get("disk") or [], tuple[_Disk, ...])
    return GuestFileSystem(mount_point, kind, size, used, tuple(GuestDisk(disk.dev, disk.serial) for disk in disks))
