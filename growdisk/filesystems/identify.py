"""Names what stands on a device by its superblocks, with a read of its beginning and nothing run.

Only what growdisk must know is recognised. Two signatures at once are possible (a careless mkfs leaves the old one):
then nothing is guessed, because taking a root for swap would cost it.
"""

from __future__ import annotations

from growdisk.block.device import BlockDevice
from growdisk.filesystems.btrfs import SUPERBLOCK_OFFSET, read_btrfs
from growdisk.filesystems.content import AmbiguousContent, Content, NtfsContent, PhysicalVolumeContent
from growdisk.filesystems.ext import read_ext
from growdisk.filesystems.f2fs import read_f2fs
from growdisk.filesystems.fat import read_exfat, read_fat
from growdisk.filesystems.luks import read_luks
from growdisk.filesystems.lvm import read_lvm, with_group
from growdisk.filesystems.ntfs import read_ntfs, with_state
from growdisk.filesystems.swap import read_swap
from growdisk.filesystems.xfs import read_xfs

_HEAD = SUPERBLOCK_OFFSET + 4096  # the last superblock that is looked for ends here
_READERS = (read_luks, read_lvm, read_swap, read_ext, read_xfs, read_btrfs, read_ntfs, read_fat, read_exfat, read_f2fs)


def identify(device: BlockDevice) -> Content | None:
    """The content of a partition or a whole disk; None when nothing is recognised."""
    head = device.read(0, min(device.size, _HEAD))
    found = [content for reader in _READERS if (content := reader(head)) is not None]
    if len(found) > 1:
        return AmbiguousContent("ambiguous", candidates=tuple(c.kind for c in found))
    return _completed(device, found[0]) if found else None


def _completed(device: BlockDevice, content: Content) -> Content:
    """With what does not stand at the beginning."""
    match content:
        case NtfsContent():
            return with_state(device, content)
        case PhysicalVolumeContent():
            return with_group(device, content)
    return content
