"""Grows XFS, btrfs, NTFS and F2FS inside the appliance, each to the size of its device.

XFS and btrfs are grown by the kernel, mounted: mounting replays their logs, and refuses what is
damaged or too new. NTFS and F2FS are grown by their tools alone, after a check by them. Specs:
xfs_growfs(8), btrfs-filesystem(8), ntfsresize(8), resize.f2fs(8).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from growdisk.backends.guest_handle import Shell
from growdisk.errors import ToolFailed
from growdisk.filesystems.content import UNMOUNTED_GROWTH

_MOUNT_POINT = "/tmp/growing"
_TOP_LEVEL = "subvolid=5"  # a default subvolume may be read-only, or not there any more


def grow_filesystem(
    shell: Shell, kind: str, device: str, device_id: int, *, replay: bool = False
) -> str:
    """What the tool said.

    ToolFailed, with a hint if the appliance's kernel does not know the file system.
    """
    if kind in UNMOUNTED_GROWTH:
        if replay:
            # A mount takes in what was synced last, which the tools would cut off
            # (filesystems/f2fs.py).
            _mounted(shell, kind, "noatime", device, "true")
        # All of them run in order, the check first; only what the last said is of interest.
        return [shell.run(*command, device)[1] for command in UNMOUNTED_GROWTH[kind]][-1]
    return MOUNTED[kind](shell, device, device_id)


def _grow_xfs(shell: Shell, device: str, _device_id: int) -> str:
    return _mounted(shell, "xfs", "noatime", device, "xfs_growfs", "-d", _MOUNT_POINT)


def _grow_btrfs(shell: Shell, device: str, device_id: int) -> str:
    resize = ("btrfs", "filesystem", "resize", f"{device_id}:max", _MOUNT_POINT)
    return _mounted(shell, "btrfs", f"noatime,{_TOP_LEVEL}", device, *resize)


MOUNTED: Mapping[str, Callable[[Shell, str, int], str]] = MappingProxyType(
    {"xfs": _grow_xfs, "btrfs": _grow_btrfs}
)


def _mounted(shell: Shell, kind: str, options: str, device: str, *command: str) -> str:
    shell.run("mkdir", "-p", _MOUNT_POINT)
    try:
        shell.run("mount", "-t", kind, "-o", options, device, _MOUNT_POINT)
    except ToolFailed as error:
        hint = (
            f"the appliance has this machine's kernel: is the {kind} newer than that, or damaged?"
        )
        raise ToolFailed(error.tool, error.status, error.detail, hint) from error
    try:
        return shell.run(*command)[1]
    finally:
        shell.run("umount", _MOUNT_POINT)
