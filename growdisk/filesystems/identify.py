"""Names what stands on a device by its superblocks, with a read of both its ends and nothing run.

Two signatures at once are possible (a careless mkfs leaves the old one): then nothing is guessed,
because taking a root for swap would cost it. A member of an array or a pool often looks like a file
system at its start: it is what the signature at its end says, as it is for blkid.
"""

from __future__ import annotations

import struct

from growdisk.block.device import BlockDevice
from growdisk.block.luks1 import IN_TRANSITION, MAGIC
from growdisk.fast_dataclass import replace
from growdisk.filesystems.btrfs import SUPERBLOCK_OFFSET, read_btrfs
from growdisk.filesystems.content import (
    AmbiguousContent,
    BtrfsContent,
    Content,
    ExtContent,
    F2fsContent,
    FixedContent,
    ForeignContent,
    LuksContent,
    NtfsContent,
    PhysicalVolumeContent,
    text,
)
from growdisk.filesystems.ext import is_in_check, read_ext
from growdisk.filesystems.ext_features import has_feature
from growdisk.filesystems.f2fs import read_f2fs, with_checkpoint
from growdisk.filesystems.fat import read_exfat, read_fat, with_usage
from growdisk.filesystems.file_tree import Unknown
from growdisk.filesystems.foreign import find_foreign, nested_gpt, nested_mbr
from growdisk.filesystems.lvm import read_lvm, with_group
from growdisk.filesystems.ntfs import read_ntfs, with_state
from growdisk.filesystems.swap import read_swap
from growdisk.filesystems.xfs import read_xfs
from growdisk.units import KiB, MiB, align_up

_HEAD = SUPERBLOCK_OFFSET + 4096  # the last superblock that is looked for ends here

# Their superblock is the boot sector: no entries that make sense stand in it by chance.
_BOOT_SECTORS = {"ntfs", "vfat", "exfat"}

# If one byte of what dm-verity hashes changes, the guest does not start. Its superblock is in a
# partition of its own, or after the file system that it protects, in the same one. Spec:
# cryptsetup, docs of veritysetup (on-disk format 1).
_VERITY, _VERITY_MAGIC = "DM_verity_hash", b"verity\0\0"
# magic, version, type, uuid, algorithm, data block, hash block, blocks
_VERITY_SUPERBLOCK = struct.Struct("<8sII16s32sIIQ")
_VERITY_ROUNDED = (512, 4 * KiB, 64 * KiB, MiB)
# dm-integrity may keep its tags apart from the data, too (integritysetup --data-device). Spec:
# Linux drivers/md/dm-integrity.c, struct superblock.
_INTEGRITY = "DM_integrity"
_INTEGRITY_SECTORS = struct.Struct("<16xQ")


def read_luks(head: bytes) -> Content | None:
    """The header of a container; both versions have the UUID at byte 168 (volumes/luks.py)."""
    version = int.from_bytes(head[6:8], "big")
    if not head.startswith((MAGIC, IN_TRANSITION)) or version not in (1, 2):
        return None
    label = text(head[24:72]) if version == 2 else ""
    return LuksContent("crypto_LUKS", text(head[168:208]), label, version=version)


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
    if foreign and foreign[0].is_member:
        kind, over = foreign[0].kind, tuple(content.kind for content in found)
        hashed = _hashed_bytes(device) if kind in (_VERITY, _INTEGRITY) else 0
        return ForeignContent(kind, over=over, member=True, hashed=hashed)
    kinds = list(dict.fromkeys([*(c.kind for c in found), *(one.kind for one in foreign)]))
    # Under other superblocks an MBR may be a leftover. Tools that wipe nothing write one into the
    # boot sector of a file system, and from then on every system sees the partitions.
    counts = _BOOT_SECTORS.issuperset(kinds)
    if table := nested_gpt(head) or (nested_mbr(head, device.size) if counts else ""):
        kinds.append(table)
    if len(kinds) > 1:
        return AmbiguousContent("ambiguous", candidates=tuple(kinds))
    if found:
        if (
            thorough
            and (end := found[0].size)
            and end < device.size
            # dm-verity may keep its hashes in the same partition: growing would overwrite them.
            and _has_hashes_after(device, end)
        ):
            return ForeignContent(_VERITY, over=(found[0].kind,), member=True)
        return _completed(device, found[0])
    return ForeignContent(kinds[0]) if kinds else None


def _completed(device: BlockDevice, content: Content) -> Content:
    """With what does not stand at the beginning."""
    match content:
        case NtfsContent():
            return with_state(device, content)
        case PhysicalVolumeContent():
            return with_group(device, content)
        case F2fsContent():
            return with_checkpoint(device, content)
        case BtrfsContent():
            return _with_operation(device, content)
        case ExtContent() if has_feature(content, "mmp"):
            return replace(content, in_check=is_in_check(device, content))
        case FixedContent():
            return with_usage(device, content)
    return content


def _with_operation(device: BlockDevice, content: BtrfsContent) -> BtrfsContent:
    """`content`, unfit if something is under way in it."""
    from growdisk.filesystems.btrfs_tree import BtrfsTree  # few disks have one

    try:
        found = "" if content.unfit else BtrfsTree(device).under_way
    except Unknown:
        return content
    reason = (
        f"a {found} of its btrfs is not finished, and until then no kernel resizes it (btrfs "
        f"{found} status tells how far it is; let it end, or cancel it)"
    )
    return replace(content, unfit=reason) if found else content


def _hashed_bytes(device: BlockDevice) -> int:
    """How many bytes hashes (or tags) on `device` cover; 0 if it does not begin with them."""
    if device.size < _VERITY_SUPERBLOCK.size:
        return 0
    head = device.read(0, _VERITY_SUPERBLOCK.size)
    if head.startswith(b"integrt\0"):
        return int(_INTEGRITY_SECTORS.unpack_from(head)[0]) * 512
    magic, version, *_, data_block, _hash_block, blocks = _VERITY_SUPERBLOCK.unpack(head)
    return int(data_block * blocks) if (magic, version) == (_VERITY_MAGIC, 1) else 0


def _has_hashes_after(device: BlockDevice, end: int) -> bool:
    """Whether dm-verity's hashes begin at one of the places after byte `end` that are used."""
    magic, places = _VERITY_MAGIC, {align_up(end, unit) for unit in _VERITY_ROUNDED}
    return any(
        at + len(magic) <= device.size and device.read(at, len(magic)) == magic for at in places
    )
