"""What an appliance does with file systems: check, grow, judge.

The kernel grows a *mounted* ext4 by adding groups at its end, as every cloud guest does at first
boot; resize2fs on an unmounted one walks all its bitmaps, 83 s for 2 TiB under emulation where
mounted takes 2. Mounted needs space for the new group descriptors (`Reserved GDT blocks`), else the
kernel would change the layout to meta_bg: then it is done unmounted, and likewise if the
appliance's kernel does not know a feature of the file system. What becomes more than 64 times as
large is grown mounted all the same: resize2fs fails there, or says that it is done and has lost the
tables. Likewise a full check loops over all inode numbers, used or not: 32 s for 134 million.

XFS and btrfs are grown by the kernel, mounted: mounting replays their logs, and refuses what is
damaged or too new. NTFS and F2FS are grown by their tools alone, after a check by them.
Specs: e2fsck(8), resize2fs(8), Linux fs/ext4/resize.c, xfs_growfs(8), btrfs-filesystem(8),
ntfsresize(8), resize.f2fs(8).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager

from growdisk.backends.ext_check import (
    LEFT_ERRORS,
    VERDICTS,
    CheckState,
    FilesystemCheck,
    verdict_of,
)
from growdisk.backends.guest_handle import Shell
from growdisk.backends.judging import (
    CHECKERS,
    accepted_before,
    complaint,
    filesystem_unsound,
    refuse_damaged,
)
from growdisk.errors import ToolFailed
from growdisk.fast_imports import LateLogger
from growdisk.filesystems.content import UNMOUNTED_GROWTH, Content, ExtContent, XfsContent
from growdisk.filesystems.ext import SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, read_ext
from growdisk.filesystems.ext_features import grows_far
from growdisk.filesystems.ext_growth import size_in_place
from growdisk.filesystems.xfs import read_xfs
from growdisk.host.command import last_lines
from growdisk.tool_words import meaning

_log = LateLogger("growdisk.appliance")

_SECTOR = 512
_MOUNT_POINT = "/tmp/growing"
# Up to here (256 GiB as mkfs makes them) a full check takes seconds. Larger ones are checked in
# full if their superblock shows any reason to.
_FULL_CHECK_INODES = 16 << 20
_READ_HEAD = f'head -c {SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE} "$1" 2>/dev/null | base64'
_TOO_NEW = (
    "grow it on a machine with a newer e2fsprogs (the appliance has this machine's), or from "
    "inside the guest"
)
# What the kernel grows. The top level of btrfs: a default subvolume may be read-only, or gone.
_MOUNTED = {"xfs": "noatime", "btrfs": "noatime,subvolid=5"}
# The checkers of these read all metadata: of a large one that takes longer than growing it.
_CHECKED_TO = {"xfs": 16 << 30, "btrfs": 16 << 30}
_XFS_GROUPS_AT_ONCE = 4096  # 40 KiB of memory each; an appliance has 768 MiB


class FilesystemTools:
    """The programs and the kernel of an appliance, at work on file systems."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._synced = True
        # of what was checked: each look costs 0.2 s
        self._superblocks: dict[str, Content | None] = {}
        # of what is grown: whether the kernel mounted it before
        self._mountable: dict[str, bool] = {}

    def check_ext(self, device: str) -> FilesystemCheck:
        """e2fsck: mends what is safe without asking. Damage that stays is a value."""
        self._synced = False
        superblock = self._superblocks[device] = self._superblock(device)
        return self._e2fsck(device, full=_is_checked_in_full(superblock))

    def resize_ext(self, device: str, size: int) -> None:
        """Grow an ext2/3/4, after check_ext(), to `size` bytes.

        Mounted if that is possible and safe, else unmounted.
        """
        self._synced = False
        # Asked before it grows: a mount that failed already proves nothing if it fails again.
        self._mountable[device] = not self._why_not_mounted("ext4", device)
        superblock = self._superblocks.pop(device, None) or self._superblock(device)
        resize2fs = ("resize2fs", device, f"{size // _SECTOR}s")
        # Mounted first: it takes 2 s where unmounted takes 83 s for 2 TiB. Whatever refuses, the
        # unmounted way below is tried too.
        if isinstance(superblock, ExtContent) and _may_grow_mounted(superblock, size):
            try:
                with self._mounted("ext4", "noatime", device):
                    self._shell.run(*resize2fs)
                return
            except ToolFailed as refusal:
                # a feature that this kernel does not know, or cannot grow while mounted
                _log.debug("%s cannot grow while mounted: %s", device, refusal.detail)
        checked = self._e2fsck(device, full=True)  # resize2fs insists on it
        if checked.state is CheckState.DAMAGED:
            raise ToolFailed("e2fsck", LEFT_ERRORS, checked.last_words)
        self._shell.run(*resize2fs)

    def grow_filesystem(
        self, kind: str, device: str, device_id: int = 1, *, replay: bool = False
    ) -> None:
        """XFS, btrfs, NTFS or F2FS, to the size of its device.

        `device_id` is btrfs's number of it. `replay`: it was not unmounted in order, and a kernel
        has to mount it before its tools see all of it. ToolFailed, with a hint if the appliance's
        kernel does not know the file system.
        """
        # What a mount grew could be mounted. Of the others no mount is asked afterwards.
        self._mountable[device] = kind in _MOUNTED
        self._synced = False
        if kind in UNMOUNTED_GROWTH:
            if replay:
                # A mount takes in what was synced last, which the tools would cut off (f2fs.py).
                with self._mounted(kind, "noatime", device):
                    pass
            for command in UNMOUNTED_GROWTH[kind]:
                accept = accepted_before(command)
                refuse_damaged(command, *self._shell.run(*command, device, accept=accept))
            return
        with self._mounted(kind, _MOUNTED[kind], device):
            if kind == "btrfs":
                self._shell.run("btrfs", "filesystem", "resize", f"{device_id}:max", _MOUNT_POINT)
                return
            for blocks in self._parts_of_xfs(device):
                self._shell.run("xfs_growfs", "-D", str(blocks), _MOUNT_POINT)
            self._shell.run("xfs_growfs", "-d", _MOUNT_POINT)

    def _parts_of_xfs(self, device: str) -> range:
        """Sizes in blocks on the way: a kernel keeps all new groups in memory until the last."""
        content = read_xfs(self._head_of(device))
        if not isinstance(content, XfsContent):
            return range(0)
        part = _XFS_GROUPS_AT_ONCE * content.ag_blocks
        end = self._shell.size_of(device) // content.block_size
        return range(content.block_count + part, end, part)

    def judge(self, kind: str, device: str) -> None:
        """filesystem-unsound if a checker, or a kernel that mounted it before, finds it so."""
        if kind.startswith("ext"):
            self._judge_ext(device)
        elif kind not in _CHECKED_TO or self._shell.size_of(device) <= _CHECKED_TO[kind]:
            for command in CHECKERS.get(kind, ()):
                status, output = self._shell.run(*command, device, accept=range(256))
                if found := complaint(kind, status, output):
                    raise filesystem_unsound(device, judge=command[0], found=found)
        # One that this kernel did not know before proves nothing by failing again.
        if self._mountable.pop(device, False):
            self.require_mount(kind, device)

    def require_mount(self, kind: str, device: str) -> None:
        """filesystem-unsound if the kernel does not mount it, read only."""
        if found := self._why_not_mounted(kind, device):
            raise filesystem_unsound(device, judge="the kernel", found=found)

    def _superblock(self, device: str) -> Content | None:
        return read_ext(self._head_of(device))

    def _head_of(self, device: str) -> bytes:
        return base64.b64decode(self._shell.run("sh", "-c", _READ_HEAD, "sh", device)[1])

    def _e2fsck(self, device: str, *, full: bool) -> FilesystemCheck:
        """The verdict of e2fsck -p; without `full` it goes by what the superblock says."""
        try:
            done = self._shell.run(
                "e2fsck", *(["-f"] if full else []), "-p", device, accept=VERDICTS
            )
        except ToolFailed as error:
            # A guest newer than this machine is a common case, and no repair helps it.
            hint = _TOO_NEW if "unsupported feature" in error.detail else error.hint
            raise ToolFailed(error.tool, error.status, error.detail, hint) from error
        return verdict_of(*done)

    def _judge_ext(self, device: str) -> None:
        if _is_checked_in_full(self._superblock(device)) and (found := self._errors_of(device)):
            # What resize2fs leaves stale e2fsck may mend once: see DirectTools.judge.
            checked = self._e2fsck(device, full=True)
            if checked.state is CheckState.DAMAGED or self._errors_of(device):
                raise filesystem_unsound(device, judge="e2fsck", found=found)

    def _errors_of(self, device: str) -> str:
        status, output = self._shell.run("e2fsck", "-f", "-n", device, accept=range(16))
        return last_lines(output) if status else ""

    @contextmanager
    def _mounted(self, kind: str, options: str, device: str) -> Iterator[None]:
        self._mount(kind, options, device)
        try:
            yield
        finally:
            self._shell.run("umount", _MOUNT_POINT)

    def _mount(self, kind: str, options: str, device: str) -> None:
        self._shell.run("mkdir", "-p", _MOUNT_POINT)
        try:
            self._shell.run("mount", "-t", kind, "-o", options, device, _MOUNT_POINT)
        except ToolFailed as error:
            hint = (
                f"the appliance has this machine's kernel: is the {kind} newer than that, or "
                "damaged?"
            )
            raise ToolFailed(error.tool, error.status, error.detail, hint) from error

    def _why_not_mounted(self, kind: str, device: str) -> str:
        """Why the kernel does not mount it, read only; "" if it does."""
        # The kernel's ext4 mounts ext2 and ext3 as well.
        driver = "ext4" if kind.startswith("ext") else kind
        try:
            self._mount(driver, "ro,subvolid=5" if kind == "btrfs" else "ro", device)
        except ToolFailed as error:
            known = meaning(error.detail)
            return known[0] if known else error.detail
        self._shell.run("umount", _MOUNT_POINT)
        return ""


def _is_checked_in_full(content: Content | None) -> bool:
    """What is not known as ext goes to e2fsck in full: it says best what is wrong."""
    return not isinstance(content, ExtContent) or content.inodes <= _FULL_CHECK_INODES


def _may_grow_mounted(content: ExtContent, size: int) -> bool:
    """Whether the descriptors have room, or resize2fs makes none for so many in the first group.

    A kernel puts new descriptors elsewhere.
    """
    return size <= size_in_place(content) or grows_far(content, size)
