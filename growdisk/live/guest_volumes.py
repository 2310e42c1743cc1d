"""Opened containers and active logical volumes of a running guest, read as the guest has them.

The kernel names a mapped device by who made it: "CRYPT-LUKS2-<uuid>-<name>", "LVM-<group><volume>".
So nothing needs a passphrase here, and nothing of LVM is trusted. Each is read from its own device,
whose cache is the one that a mounted file system writes to. XFS is the exception: it keeps its
superblock to itself for half a minute, so a mounted one is asked for its size.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import dataclass, replace
from growdisk.filesystems.content import Content, LuksContent, PhysicalVolumeContent, XfsContent
from growdisk.filesystems.identify import identify
from growdisk.filesystems.xfs import group_count
from growdisk.live.guest_block_device import GuestBlockDevice, are_numbers, kernel_name
from growdisk.live.guest_shell import GuestShell
from growdisk.volumes.lvm import is_readable

_SECONDS = 60.0
_DEPTH = 4
_LIST = """\
for entry in /sys/block/dm-*; do
    [ -e "$entry/dm/uuid" ] || continue
    echo "$(cat "$entry/size") ${entry##*/} $(cat "$entry/dm/uuid")"
done
"""
# Blocks of 1 KiB: all, those in use, and those that users may still fill.
_MOUNTED = r"""
number=$(cat /sys/class/block/{name}/dev) || exit 0
place=$(awk -v number="$number" '$3 == number {{ print $5; exit }}' /proc/self/mountinfo |
    sed 's/\\\([0-7][0-7][0-7]\)/\\0\1/g')
place=$(printf '%bx' "$place")
[ "$place" != x ] || exit 0
df -Pk "${{place%x}}" | awk 'END {{ printf "%.0f %.0f %.0f\n", $2, $3, $4 }}'
"""


@dataclass(frozen=True)
class MappedDevice:
    """A device of the kernel's device mapper; `uuid` is the kernel's word for what it is."""

    device: str
    size: int
    uuid: str


@dataclass(frozen=True)
class SpaceUsage:
    """As df has it, in bytes."""

    size: int
    used: int
    free: int

    @property
    def fullness(self) -> float:
        room = self.used + self.free
        return self.used / room if room else 1.0


class GuestVolumes:
    """All that is mapped in the guest now."""

    def __init__(
        self, shell: GuestShell, mapped: Sequence[MappedDevice], *, fullness: bool = False
    ) -> None:
        """`fullness`: ask mounted file systems how full they are.

        Their superblocks are updated later.
        """
        self._shell, self._mapped, self.fullness = shell, mapped, fullness

    def opened(self, luks_uuid: str) -> GuestBlockDevice | None:
        """The content of an encrypted container that is open."""
        # The kernel writes UUIDs without hyphens.
        uuid = luks_uuid.replace("-", "")
        starts = (f"CRYPT-LUKS1-{uuid}-", f"CRYPT-LUKS2-{uuid}-")
        return self._mapped_as(lambda found: found.startswith(starts))

    def volume(self, group_uuid: str, volume_uuid: str) -> GuestBlockDevice | None:
        """A logical volume that is active.

        Of one with snapshots there are further devices, whose names go on: -real, -cow.
        """
        uuid = "LVM-" + (group_uuid + volume_uuid).replace("-", "")
        return self._mapped_as(lambda found: found == uuid)

    def mounted(self, device: str) -> SpaceUsage | None:
        """What df says of the file system on `device`; None if it is not mounted."""
        words = _MOUNTED.format(name=shlex.quote(kernel_name(device)))
        numbers = self._shell.run(words, _SECONDS).stdout.split()
        if len(numbers) != 3 or not all(word.isdigit() for word in numbers):
            return None
        return SpaceUsage(*(1024 * int(word) for word in numbers))

    def _mapped_as(self, matches: Callable[[str], bool]) -> GuestBlockDevice | None:
        found = next((mapped for mapped in self._mapped if matches(mapped.uuid)), None)
        return GuestBlockDevice(self._shell, found.device, found.size, ()) if found else None


def partition_device(disk: GuestBlockDevice, start: int) -> str:
    """The guest's name of the partition that starts there; the disk's own if there is none."""
    return next(
        (part.device for part in disk.partitions if part.start == start and part.size > 1024),
        disk.device,
    )


def volumes_of(shell: GuestShell, *, fullness: bool = False) -> GuestVolumes:
    mapped = [
        MappedDevice(f"/dev/{row[1]}", 512 * int(row[0]), row[2])
        for row in shell.run(_LIST, _SECONDS).rows
        if len(row) == 3 and are_numbers(row[:1]) and row[1].replace("-", "").isalnum()
    ]
    return GuestVolumes(shell, mapped, fullness=fullness)


def look_in_guest(
    device: BlockDevice, name: str, volumes: GuestVolumes, depth: int = 0
) -> Content | None:
    """As InnerLook.content(), through what the guest has open.

    `name` is the device that `device` is read from.
    """
    content = identify(device, thorough=False)
    match content:
        case LuksContent() if depth < _DEPTH:
            return _with_payload(device, content, volumes, depth)
        case PhysicalVolumeContent() if depth < _DEPTH:
            return _with_volumes(content, volumes, depth)
        case XfsContent():
            content = _as_mounted(name, content, volumes)
    return _as_full(name, content, volumes) if volumes.fullness else content


def _as_full(name: str, content: Content | None, volumes: GuestVolumes) -> Content | None:
    """As full as the guest's own df has it."""
    if (
        content is None
        or not content.size
        or content.used is None
        or (usage := volumes.mounted(name)) is None
    ):
        return content
    # df's share of what users can fill, applied to the same room in the superblock's numbers.
    room = max(content.size - content.overhead - content.reserved, 0)
    return replace(
        content, used=max(content.overhead + round(room * usage.fullness) - content.held, 0)
    )


def _with_payload(
    device: BlockDevice, content: LuksContent, volumes: GuestVolumes, depth: int
) -> Content:
    from growdisk.volumes.luks import LuksUnreadable, read_luks_header

    try:
        header = read_luks_header(device)
    except LuksUnreadable as error:
        return replace(content, fixed=str(error))
    content = replace(
        content, payload=header.payload, fixed=header.fixed, sector_size=header.sector_size
    )
    opened = volumes.opened(header.uuid)
    if opened is None:
        return replace(content, size=max(device.size - header.payload, 0))
    inside = look_in_guest(opened, opened.device, volumes, depth + 1)
    return replace(content, size=opened.size, unlocked=True, inside=inside)


def _with_volumes(content: PhysicalVolumeContent, volumes: GuestVolumes, depth: int) -> Content:
    group = content.group
    if group is None:
        return content
    active = [
        (volume.name, device)
        for volume in group.visible
        # Its own physical volume alone: other disks of the guest are not looked at here.
        if is_readable(volume, (group.own,))
        and (device := volumes.volume(group.uuid, volume.uuid)) is not None
    ]
    inside = ((name, look_in_guest(d, d.device, volumes, depth + 1)) for name, d in active)
    return replace(content, volumes=tuple(inside))


def _as_mounted(name: str, content: XfsContent, volumes: GuestVolumes) -> XfsContent:
    """df leaves out the log, which stands in the superblock."""
    mounted = volumes.mounted(name)
    if mounted is None:
        return content
    size = mounted.size + content.overhead
    # Only larger: a mounted XFS that has grown shows it first to df.
    if size <= (content.size or 0):
        return content
    blocks, groups = size // content.block_size, group_count(content, size)
    return replace(content, size=size, block_count=blocks, ag_count=groups)
