"""Names what stands on a device by its superblocks, with a read of both its ends and nothing run.

Two signatures at once are possible (a careless mkfs leaves the old one): then nothing is guessed,
because taking a root for swap would cost it. A member of an array or a pool often looks like a file
system at its start: it is what the signature at its end says, as it is for blkid.
"""

from __future__ import annotations

from growdisk.block.device import BlockDevice
from growdisk.filesystems.btrfs import SUPERBLOCK_OFFSET, read_btrfs
from growdisk.filesystems.content import (
    AmbiguousContent,
    Content,
    F2fsContent,
    FixedContent,
    ForeignContent,
    NtfsContent,
    PhysicalVolumeContent,
)
from growdisk.filesystems.ext import read_ext
from growdisk.filesystems.f2fs import read_f2fs, with_checkpoint
from growdisk.filesystems.fat import read_exfat, read_fat, with_usage
from growdisk.filesystems.foreign import Foreign, find_foreign
from growdisk.filesystems.luks import read_luks
from growdisk.filesystems.lvm import read_lvm, with_group
from growdisk.filesystems.nested_table import nested_gpt, nested_mbr
from growdisk.filesystems.ntfs import read_ntfs, with_state
from growdisk.filesystems.signatures import ContentOwner
from growdisk.filesystems.swap import read_swap
from growdisk.filesystems.verity import VERITY, has_hashes_behind, hashed_bytes
from growdisk.filesystems.xfs import read_xfs

_HEAD = SUPERBLOCK_OFFSET + 4096  # the last superblock that is looked for ends here
_READERS = (
    read_luks,
    read_lvm,
    read_swap,
    read_ext,
    read_xfs,
    read_btrfs,
    read_ntfs,
    read_fat,
    read_exfat,
    read_f2fs,
)


def identify(device: BlockDevice, *, thorough: bool = True) -> Content | None:
    """The content of a partition or a whole disk; None when nothing is recognised.

    Not `thorough`: only the very ends are read: for devices on which each read is slow.
    """
    head = device.read(0, min(device.size, _HEAD))
    found = [content for reader in _READERS if (content := reader(head)) is not None]
    foreign = [
        one
        for one in find_foreign(device, head, thorough=thorough)
        if one.kind not in {c.kind for c in found}
    ]
    # find_foreign() lists members of a larger whole first: if there is one, it wins over any
    # superblock.
    if foreign and foreign[0].owner is ContentOwner.WHOLE:
        return _belonging(device, foreign[0], found)
    kinds = list(dict.fromkeys([*(c.kind for c in found), *(one.kind for one in foreign)]))
    # An MBR has only its end mark, which boot sectors of file systems have as well: it counts if
    # nothing else was recognised.
    if table := nested_gpt(head) or ("" if kinds else nested_mbr(head, device.size)):
        kinds.append(table)
    if len(kinds) > 1:
        return AmbiguousContent("ambiguous", candidates=tuple(kinds))
    if found:
        if (
            thorough
            and (end := found[0].size)
            and end < device.size
            # dm-verity may keep its hashes in the same partition: growing would overwrite them.
            and has_hashes_behind(device, end)
        ):
            return ForeignContent(VERITY, over=(found[0].kind,), member=True)
        return _completed(device, found[0])
    return ForeignContent(kinds[0]) if kinds else None


def _belonging(device: BlockDevice, foreign: Foreign, found: list[Content]) -> ForeignContent:
    hashed = hashed_bytes(device) if foreign.kind == VERITY else 0
    return ForeignContent(
        foreign.kind, over=tuple(c.kind for c in found), member=True, hashed=hashed
    )


def _completed(device: BlockDevice, content: Content) -> Content:
    """With what does not stand at the beginning."""
    match content:
        case NtfsContent():
            return with_state(device, content)
        case PhysicalVolumeContent():
            return with_group(device, content)
        case F2fsContent():
            return with_checkpoint(device, content)
        case FixedContent():
            return with_usage(device, content)
    return content
