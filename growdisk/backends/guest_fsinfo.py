"""Mounted file systems by a running guest's agent (guest-get-fsinfo): no command runs in it.

The guest's words, not to be trusted: numbers out of bounds are left out. Agents older than QEMU
2.12 tell no sizes.
"""

from __future__ import annotations

from growdisk.fast_dataclass import dataclass
from growdisk.host.json_codec import NotThatValue, converted
from growdisk.live.guest_shell import AgentCall, AgentError, fields

_MOST = 1 << 70  # bytes
_MOST_MOUNTS = 1000
_LONGEST = 4096  # characters of a path
_ANSWER_SECONDS = 8.0
_PSEUDO = ("squashfs", "iso9660", "udf", "tmpfs", "overlay", "CDFS", "UDF")


@dataclass(frozen=True)
class GuestDiskAddress:
    """The disk of a file system: `device` in the guest ("/dev/vda1"), its serial number."""

    device: str = ""
    serial: str = ""


@dataclass(frozen=True)
class GuestFileSystem:
    """Sizes in bytes.

    `used` counts what root keeps for itself as used no more than the guest's df does.
    """

    mount_point: str
    kind: str
    size: int
    used: int
    disks: tuple[GuestDiskAddress, ...] = ()


class FsInfoMissing(Exception):
    """The agent does not answer, or not so; the message says why."""


def file_systems_in_guest(call: AgentCall) -> tuple[GuestFileSystem, ...]:
    """FsInfoMissing if it cannot be asked."""
    try:
        answer = call("guest-get-fsinfo", {}, _ANSWER_SECONDS)
    except (AgentError, OSError) as error:
        raise FsInfoMissing(str(error) or "it does not answer") from error
    if not isinstance(answer, list) or len(answer) > _MOST_MOUNTS:
        raise FsInfoMissing("what it says of its file systems cannot be true")
    found = [_known(each) for each in answer]
    return tuple({one.mount_point: one for one in found if one is not None}.values())


@dataclass(frozen=True)
class _QgaDisk:
    dev: str = ""
    serial: str = ""


def _known(answer: object) -> GuestFileSystem | None:
    entry = fields(answer)
    if not isinstance(entry, dict):
        return None
    size, used = entry.get("total_bytes"), entry.get("used_bytes")
    # No size: an old agent, or a file system that has none. More used than there is: a lie.
    if not (
        isinstance(size, int) and isinstance(used, int) and 0 < size < _MOST and 0 <= used <= size
    ):
        return None
    mount_point, kind = str(entry.get("mountpoint", "")), str(entry.get("type", ""))
    if kind in _PSEUDO or len(mount_point) > _LONGEST or len(kind) > _LONGEST:
        return None
    return GuestFileSystem(mount_point, kind, size, used, _disks(entry.get("disk")))


def _disks(answer: object) -> tuple[GuestDiskAddress, ...]:
    """Empty if it says nothing, or nothing that can be understood."""
    try:
        disks = converted(answer or [], tuple[_QgaDisk, ...])
    except NotThatValue:
        return ()
    return tuple(GuestDiskAddress(disk.dev, disk.serial) for disk in disks)
