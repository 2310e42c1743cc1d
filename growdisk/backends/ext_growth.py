"""Checks and grows ext2/3/4 in the appliance, hardly depending on the file system's size.

The kernel grows a *mounted* ext4 by adding groups at its end, as every cloud guest does at first
boot; resize2fs on an unmounted one walks all its bitmaps, 83 s for 2 TiB under emulation where
mounted takes 2. Mounted needs space for the new group descriptors (`Reserved GDT blocks`), else the
kernel would change the layout to meta_bg: then it is done unmounted, and likewise if the
appliance's kernel does not know a feature of the file system. What becomes more than 64 times as
large is grown mounted all the same: resize2fs fails there, or says that it is done and has lost the
tables. Likewise a full check loops over all inode numbers, used or not: 32 s for 134 million.
Specs: e2fsck(8), resize2fs(8), Linux fs/ext4/resize.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from growdisk.backends.backend import CheckState, FilesystemCheck
from growdisk.backends.guest_handle import Shell
from growdisk.errors import ToolFailed
from growdisk.fast_dataclass import dataclass
from growdisk.fast_imports import LateLogger
from growdisk.host.command import last_lines
from growdisk.units import align_up

_log = LateLogger("growdisk.appliance")

_SECTOR = 512
# Bits of e2fsck's exit status; 8: it could not do its work.
_MENDED, LEFT_ERRORS = 3, 4
# 12 to 15 are 8 and 4 together: it gave up on a file system that is damaged. 8 alone is a failure.
VERDICTS = (*range(8), *range(12, 16))
_DUMPE2FS_TELLS = (0, 1)  # with 1 there is some damage, which is e2fsck's to tell
_MOUNT_POINT = "/tmp/growing"
# Up to here (256 GiB as mkfs makes them) a full check takes seconds. Larger file systems are
# checked in full if their superblock shows any reason to: not cleanly unmounted, errors seen, or
# due by its own count or interval.
_FULL_CHECK_INODES = 16 << 20
# The same bound as filesystems/ext_features.py has for a doubt.
_FAR = 64


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


def verdict_of(status: int, output: str) -> FilesystemCheck:
    """Of e2fsck's exit status, one of VERDICTS. Mended and left at once is damaged."""
    if status & LEFT_ERRORS:
        return FilesystemCheck(CheckState.DAMAGED, output)
    return FilesystemCheck(CheckState.MENDED if status & _MENDED else CheckState.CLEAN, output)


def run_resize2fs(shell: Shell, device: str, superblock: Superblock, size: int | None) -> str:
    """Grow to `size` bytes, or to the device.

    Mounted if that is possible and safe, else unmounted.
    """
    target = size or int(shell.run("blockdev", "--getsize64", device)[1])
    wanted = [f"{size // _SECTOR}s"] if size else []
    # Mounted first: it takes 2 s where unmounted takes 83 s for 2 TiB. Whatever refuses, the
    # unmounted way below is tried too.
    if superblock.can_hold_descriptors_for(target) or superblock.grows_far(target):
        try:
            return _grow_mounted(shell, device, wanted)
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
        _, text = shell.run("dumpe2fs", "-h", device, accept=_DUMPE2FS_TELLS)
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


def _grow_mounted(shell: Shell, device: str, wanted: list[str]) -> str:
    shell.run("mkdir", "-p", _MOUNT_POINT)
    shell.run("mount", "-t", "ext4", "-o", "noatime", device, _MOUNT_POINT)
    try:
        return shell.run("resize2fs", device, *wanted)[1]
    finally:
        shell.run("umount", _MOUNT_POINT)


def _field(text: str, name: str, *, default: int | None = None) -> int:
    match = re.search(rf"^{name}:\s*(\d+)$", text, re.MULTILINE)
    if match is not None:
        return int(match[1])
    if default is None:
        raise ToolFailed("dumpe2fs", 1, last_lines(text))
    return default
