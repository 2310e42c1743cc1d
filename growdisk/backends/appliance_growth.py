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

import re
from collections.abc import Iterator
from contextlib import contextmanager

from growdisk.backends.backend import (
    LEFT_ERRORS,
    VERDICTS,
    CheckState,
    FilesystemCheck,
    verdict_of,
)
from growdisk.backends.guest_handle import Shell
from growdisk.backends.judging import CHECKERS, complaint, filesystem_unsound
from growdisk.errors import ToolFailed
from growdisk.fast_dataclass import dataclass
from growdisk.fast_imports import LateLogger
from growdisk.filesystems.content import UNMOUNTED_GROWTH
from growdisk.host.command import last_lines
from growdisk.tool_words import meaning
from growdisk.units import align_up

_log = LateLogger("growdisk.appliance")

_SECTOR = 512
_DUMPE2FS_STATUSES = (0, 1)  # 1: there is some damage, which e2fsck reports
_MOUNT_POINT = "/tmp/growing"
# Up to here (256 GiB as mkfs makes them) a full check takes seconds. Larger file systems are
# checked in full if their superblock shows any reason to: not cleanly unmounted, errors seen, or
# due by its own count or interval.
_FULL_CHECK_INODES = 16 << 20
# The same bound as filesystems/ext_features.py has for a doubt.
_FAR = 64
# What the kernel grows. The top level of btrfs: a default subvolume may be read-only, or not there
# any more.
MOUNTED = {"xfs": "noatime", "btrfs": "noatime,subvolid=5"}
# The checkers of these read all metadata: of a large one that takes longer than growing it.
_CHECKED_TO = {"xfs": 16 << 30, "btrfs": 16 << 30}


@dataclass(frozen=True)
class Superblock:
    """The geometry that decides how an ext file system can grow.

    Sizes in blocks, but for the sizes of things.
    """

    block_size: int
    blocks: int
    blocks_per_group: int
    descriptor_size: int
    reserved_gdt_blocks: int
    inodes: int

    @property
    def is_checked_in_full(self) -> bool:
        return self.inodes <= _FULL_CHECK_INODES

    def grows_far(self, size: int) -> bool:
        """Whether `size` is beyond what resize2fs makes space for in its first group.

        A kernel puts new descriptors elsewhere.
        """
        return size > _FAR * self.blocks * self.block_size

    def can_hold_descriptors_for(self, size: int) -> bool:
        """Whether the group descriptors of `size` bytes fit into the blocks reserved for them."""
        added = self._descriptor_blocks(size // self.block_size) - self._descriptor_blocks(
            self.blocks
        )
        return added <= self.reserved_gdt_blocks

    def _descriptor_blocks(self, blocks: int) -> int:
        # One descriptor a group, in a table of whole blocks.
        groups = align_up(blocks, self.blocks_per_group) // self.blocks_per_group
        per_block = self.block_size // self.descriptor_size
        return align_up(groups, per_block) // per_block


def run_e2fsck(
    shell: Shell, device: str, superblock: Superblock, *, full: bool = False
) -> FilesystemCheck:
    """The verdict of e2fsck -p; -f as well unless the file system is huge and says it is clean."""
    options = ["-f"] if full or superblock.is_checked_in_full else []
    with _saying_what_is_too_new():
        status, output = shell.run("e2fsck", *options, "-p", device, accept=VERDICTS)
    return verdict_of(status, output)


def run_resize2fs(shell: Shell, device: str, superblock: Superblock, size: int | None) -> str:
    """Grow to `size` bytes, or to the device.

    Mounted if that is possible and safe, else unmounted.
    """
    target = size or shell.size_of(device)
    wanted = [f"{size // _SECTOR}s"] if size else []
    # Mounted first: it takes 2 s where unmounted takes 83 s for 2 TiB. Whatever refuses, the
    # unmounted way below is tried too.
    if superblock.can_hold_descriptors_for(target) or superblock.grows_far(target):
        try:
            with _mounted(shell, "ext4", "noatime", device):
                return shell.run("resize2fs", device, *wanted)[1]
        except ToolFailed as refusal:
            # a feature that this kernel does not know, or cannot grow while mounted
            _log.debug("%s cannot grow while mounted: %s", device, refusal.detail)
    checked = run_e2fsck(shell, device, superblock, full=True)  # resize2fs insists on it
    if checked.state is CheckState.DAMAGED:
        raise ToolFailed("e2fsck", LEFT_ERRORS, checked.last_words)
    return shell.run("resize2fs", device, *wanted)[1]


def read_superblock(shell: Shell, device: str) -> Superblock:
    """What dumpe2fs says of it. ToolFailed if there is no ext file system."""
    with _saying_what_is_too_new():
        _, text = shell.run("dumpe2fs", "-h", device, accept=_DUMPE2FS_STATUSES)
    return Superblock(
        # dumpe2fs leaves out what does not apply. Without the feature 64bit, descriptors have 32
        # bytes.
        block_size=_field(text, "Block size"),
        blocks=_field(text, "Block count"),
        blocks_per_group=_field(text, "Blocks per group"),
        descriptor_size=_field(text, "Group descriptor size", default=32),
        reserved_gdt_blocks=_field(text, "Reserved GDT blocks", default=0),
        inodes=_field(text, "Inode count"),
    )


@contextmanager
def _saying_what_is_too_new() -> Iterator[None]:
    """A guest newer than this machine is a common case, and no repair helps it."""
    try:
        yield
    except ToolFailed as error:
        if "unsupported feature" not in error.detail:
            raise
        hint = (
            "grow it on a machine with a newer e2fsprogs (the appliance has this machine's), "
            "or from inside the guest"
        )
        raise ToolFailed(error.tool, error.status, error.detail, hint) from error


def _field(text: str, name: str, *, default: int | None = None) -> int:
    match = re.search(rf"^{name}:\s*(\d+)$", text, re.MULTILINE)
    if match is not None:
        return int(match[1])
    if default is None:
        raise ToolFailed("dumpe2fs", 1, last_lines(text))
    return default


# --- other file systems ---------------------------------------------------------------------------


def grow_filesystem(
    shell: Shell, kind: str, device: str, device_id: int, *, replay: bool = False
) -> str:
    """XFS, btrfs, NTFS or F2FS, to the size of its device: what the tool said.

    `device_id` is btrfs's number of it. ToolFailed, with a hint if the appliance's kernel does not
    know the file system.
    """
    if kind in UNMOUNTED_GROWTH:
        if replay:
            # A mount takes in what was synced last, which the tools would cut off
            # (filesystems/f2fs.py).
            with _mounted(shell, kind, "noatime", device):
                pass
        # All of them run in order, the check first; only what the last said is of interest.
        return [shell.run(*command, device)[1] for command in UNMOUNTED_GROWTH[kind]][-1]
    grow = {
        "xfs": ("xfs_growfs", "-d"),
        "btrfs": ("btrfs", "filesystem", "resize", f"{device_id}:max"),
    }
    with _mounted(shell, kind, MOUNTED[kind], device):
        return shell.run(*grow[kind], _MOUNT_POINT)[1]


@contextmanager
def _mounted(shell: Shell, kind: str, options: str, device: str) -> Iterator[None]:
    _mount(shell, kind, options, device)
    try:
        yield
    finally:
        shell.run("umount", _MOUNT_POINT)


def _mount(shell: Shell, kind: str, options: str, device: str) -> None:
    shell.run("mkdir", "-p", _MOUNT_POINT)
    try:
        shell.run("mount", "-t", kind, "-o", options, device, _MOUNT_POINT)
    except ToolFailed as error:
        hint = (
            f"the appliance has this machine's kernel: is the {kind} newer than that, or damaged?"
        )
        raise ToolFailed(error.tool, error.status, error.detail, hint) from error


# --- judging --------------------------------------------------------------------------------------


def judge(shell: Shell, kind: str, device: str, *, mountable: bool) -> None:
    """filesystem-unsound. `mountable`: the kernel could mount it before it was grown."""
    if kind.startswith("ext"):
        _judge_ext(shell, device)
    elif kind not in _CHECKED_TO or shell.size_of(device) <= _CHECKED_TO[kind]:
        for command in CHECKERS.get(kind, ()):
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
    try:
        _mount(shell, driver, options, device)
    except ToolFailed as error:
        known = meaning(error.detail)
        return known[0] if known else error.detail
    shell.run("umount", _MOUNT_POINT)
    return ""


def _judge_ext(shell: Shell, device: str) -> None:
    superblock = read_superblock(shell, device)
    if not superblock.is_checked_in_full:
        return
    if found := _e2fsck(shell, device):
        # What resize2fs leaves stale e2fsck may mend once: see DirectTools.judge.
        checked = run_e2fsck(shell, device, superblock)
        if checked.state is CheckState.DAMAGED or _e2fsck(shell, device):
            raise filesystem_unsound(device, judge="e2fsck", found=found)


def _e2fsck(shell: Shell, device: str) -> str:
    status, output = shell.run("e2fsck", "-f", "-n", device, accept=range(16))
    return last_lines(output) if status else ""
