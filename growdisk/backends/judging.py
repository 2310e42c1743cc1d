"""Judges of a file system that was grown: never who grew it.

Growth that they do not accept has failed.

What is asked:
- ext: e2fsck -fn, up to 256 GiB as mkfs makes them (half a second); beyond, a mount alone.
- in a kernel, always: a mount, read only, of what could be mounted before (a few hundredths of a
  second).
- XFS: xfs_repair -n, btrfs: btrfs check --readonly, both up to 16 GiB; beyond, the mount alone,
  which the kernel has grown it by. NTFS: ntfsresize's own check of all its clusters, F2FS:
  fsck.f2fs.
- by `direct`, if there is a doubt (filesystems/ext_features.py, doubt()): a user-mode kernel
  mounts it as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from growdisk.backends import ext_growth
from growdisk.backends.backend import CheckState
from growdisk.backends.guest_handle import Shell
from growdisk.errors import OperationFailed, ToolFailed
from growdisk.host.command import last_lines
from growdisk.tool_words import meaning

_MOUNT_POINT = "/tmp/judging"
_SMALL = 16 << 30
LOOKING: Mapping[str, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        "ntfs": (("ntfsresize", "--info", "--force", "--no-progress-bar"),),
        "f2fs": (("fsck.f2fs", "--dry-run"),),
        "xfs": (("xfs_repair", "-n"),),
        "btrfs": (("btrfs", "check", "--readonly"),),
    }
)
# Their checkers read all metadata: of a large one that takes longer than growing it.
_LIMITED = ("xfs", "btrfs")
# Kinds whose checker ends with 0 whatever it finds: these words tell.
_SAYS = {"f2fs": ("[Fail]", "[ASSERT]")}


def filesystem_unsound(device: str, judge: str, found: str) -> OperationFailed:
    """A grown file system that a foreign judge does not let pass: it never becomes a success."""
    return OperationFailed.named(
        "filesystem-unsound",
        "the grown file system on {device} is not sound",
        '{judge} looked at it afterwards, and its verdict is: "{found}"',
        "grow it in smaller steps, or from inside the guest; please report which features it has "
        "(dumpe2fs -h)",
        {"device": device, "judge": judge, "found": found},
    )


def complaint(kind: str, status: int, output: str) -> str:
    """What a judge found; "" for nothing. fsck.f2fs always ends with 0."""
    bad = [
        line for line in output.splitlines() if any(word in line for word in _SAYS.get(kind, ()))
    ]
    return last_lines("\n".join(bad) or output) or "it gave no reason" if status or bad else ""


def judge(shell: Shell, kind: str, device: str, *, mountable: bool) -> None:
    """filesystem-unsound. `mountable`: the kernel could mount it before it was grown."""
    if kind.startswith("ext"):
        _judge_ext(shell, device)
    elif kind not in _LIMITED or int(shell.run("blockdev", "--getsize64", device)[1]) <= _SMALL:
        for command in LOOKING.get(kind, ()):
            status, output = shell.run(*command, device, accept=range(256))
            if found := complaint(kind, status, output):
                raise filesystem_unsound(device, judge=command[0], found=found)
    # One that this kernel did not know before proves nothing by failing again.
    if mountable and (found := why_not_mounted(shell, kind, device)):
        raise filesystem_unsound(device, judge="the kernel", found=found)


def why_not_mounted(shell: Shell, kind: str, device: str) -> str:
    """Why the kernel does not mount it, read only; "" if it does."""
    # The kernel's ext4 mounts ext2 and ext3 as well.
    options, driver = (
        ("ro,subvolid=5", kind)
        if kind == "btrfs"
        else ("ro", "ext4" if kind.startswith("ext") else kind)
    )
    shell.run("mkdir", "-p", _MOUNT_POINT)
    try:
        shell.run("mount", "-t", driver, "-o", options, device, _MOUNT_POINT)
    except ToolFailed as error:
        known = meaning(error.detail)
        return known[0] if known else error.detail
    shell.run("umount", _MOUNT_POINT)
    return ""


def _judge_ext(shell: Shell, device: str) -> None:
    superblock = ext_growth.read_superblock(shell, device)
    if not superblock.is_checked_in_full:
        return
    if found := _e2fsck(shell, device):
        # What resize2fs leaves stale e2fsck may mend once: see DirectTools.judge.
        checked = ext_growth.run_e2fsck(shell, device, superblock)
        if checked.state is CheckState.DAMAGED or _e2fsck(shell, device):
            raise filesystem_unsound(device, judge="e2fsck", found=found)


def _e2fsck(shell: Shell, device: str) -> str:
    status, output = shell.run("e2fsck", "-f", "-n", device, accept=range(16))
    return last_lines(output) if status else ""
