"""Finds what growdisk must not touch on a device: array, pool and file system signatures.

They are looked for at both of its ends, by magic bytes at fixed places or, if these do not prove
enough, by a function; kinds are named as blkid names them. This is the opinion of growdisk alone.
If blkid is available, it is asked as well (api/second_opinion.py).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from enum import Enum

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import dataclass
from growdisk.units import KiB, MiB, align_down

_SECTOR = 512
# Read at once: all places that are counted from the end but one of Promise's and ZFS's labels.
_NEAR_THE_END = 132 * KiB

_MD_MAGIC = 0xA92B4EFC
_MD_RESERVED = 64 * KiB
# Magic, version (three numbers and a count of words); size in KiB. 0.90 is in the byte order of the
# machine that made it.
_MD0 = ("<5I12xI", ">5I12xI")
_MD1 = struct.Struct("<II136xQ")  # magic, major version; the sector that it stands in

_ZFS_LABEL, _ZFS_UBERBLOCKS, _ZFS_SLOT = 256 * KiB, 128 * KiB, 1024
_ZFS_MAGICS = tuple((0x00BAB10C).to_bytes(8, order) for order in ("little", "big"))
_ZFS_LEAST, _ZFS_ENOUGH = 64 * MiB, 4

_SILICON_MAGIC, _SILICON_SUM = 0x2F000000, 0x13E
_VIA_SUM, _JMICRON_SUM = 50, 128

_EXT_MAGIC, _EXT_JOURNAL_DEVICE = 0xEF53, 0x8


class ContentOwner(Enum):
    """Whom a content belongs to: itself, or a whole that the device is part of (array, pool).

    A key counts as such a whole, too.
    """

    ITSELF = "itself"
    WHOLE = "whole"


@dataclass(frozen=True)
class Magic:
    """`places` are the bytes that it may begin at; negative ones count from the device's end."""

    kind: str
    text: bytes
    places: tuple[int, ...]
    owner: ContentOwner = ContentOwner.WHOLE


# Sectors from the end, as blkid has them.
_PROMISE = (63, 255, 256, 16, 399, 591, 675, 735, 911, 974, 991, 951, 3087)
# LUKS2 keeps a second header after the first; it may start at any of these places, 16 KiB to 4 MiB.
_LUKS2_SECOND = tuple(0x4000 << power for power in range(9))

MAGICS = (
    # Arrays of disk controllers: at the end.
    Magic("ddf_raid_member", b"\xde\x11\xde\x11", (-_SECTOR, -257 * _SECTOR)),
    Magic("ddf_raid_member", b"\x11\xde\x11\xde", (-_SECTOR, -257 * _SECTOR)),
    Magic("isw_raid_member", b"Intel Raid ISM Cfg Sig. ", (-2 * _SECTOR,)),
    Magic("lsi_mega_raid_member", b"$XIDE$", (-_SECTOR,)),
    Magic("nvidia_raid_member", b"NVIDIA", (-2 * _SECTOR,)),
    Magic(
        "promise_fasttrack_raid_member",
        b"Promise Technology, Inc.",
        tuple(-n * _SECTOR for n in _PROMISE),
    ),
    Magic("hpt45x_raid_member", b"\xf3\x16\x78\x5a", (-11 * _SECTOR,)),
    Magic("hpt45x_raid_member", b"\xfd\x16\x78\x5a", (-11 * _SECTOR,)),
    Magic("hpt37x_raid_member", b"\xf0\x16\x78\x5a", (4640,)),
    Magic("hpt37x_raid_member", b"\xfd\x16\x78\x5a", (4640,)),
    Magic("adaptec_raid_member", b"\x37\xfc\x4d\x1e", (-_SECTOR,)),
    # Parts of something larger.
    Magic("drbd", b"\x83\x74\x02\x6b", (-4096 + 60,)),
    Magic("drbd", b"\x83\x74\x02\x6c", (-4096 + 60,)),
    Magic("drbd", b"\x83\x74\x02\x6d", (-4096 + 60,)),
    Magic("drbdmanage_control_volume", b"$DRBDmgr=q", (0,)),
    Magic("drbdproxy_datalog", b"DRBDdlh*", (16,)),
    Magic(
        "bcache", b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", (4096 + 24,)
    ),
    Magic(
        "bcachefs",
        b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef",
        (4096 + 24,),
    ),
    Magic("ceph_bluestore", b"bluestore block device", (0,)),
    Magic("stratis", b"!Stra0tis\x86\xff\x02^\x41rh", (_SECTOR + 4, 9 * _SECTOR + 4)),
    Magic("vdo", b"dmvdo001", (0,)),
    Magic("VMFS_volume_member", b"\x0d\xd0\x01\xc0", (1 << 20,)),
    Magic("VMFS", b"\x5e\xf1\xab\x2f", (2 << 20,)),
    Magic("LVM1_member", b"HM\x01\x00", (0,)),
    Magic("LVM1_member", b"HM\x02\x00", (0,)),
    Magic("DM_snapshot_cow", b"SnAp", (0,)),
    Magic("DM_verity_hash", b"verity\0\0", (0,)),
    Magic("avb_footer", b"AVBf", (-64,)),  # Android's Verified Boot
    Magic("DM_integrity", b"integrt\0", (0,)),
    Magic("crypto_LUKS", b"SKUL\xba\xbe", _LUKS2_SECOND),
    Magic("BitLocker", b"-FVE-FS-", (3,)),
    Magic("oracleasm", b"ORCLDISK", (32,)),
    Magic("gfs2", b"\x01\x16\x19\x70\x00\x00\x00\x01", (64 << 10,)),
    Magic("xfs_external_log", b"\xfe\xed\xba\xbe", (0,)),
    Magic("ocfs2", b"OCFSV2", (1024, 2048, 4096, 8192)),
    Magic("ubi", b"UBI#", (0,)),
    Magic("mpool", b"mpoolDev", (0,)),
    # File systems that growdisk does not grow.
    Magic("ReFS", b"\0\0\0ReFS\0", (0,), ContentOwner.ITSELF),
    Magic("reiserfs", b"ReIsEr2Fs", ((64 << 10) + 52, (8 << 10) + 52), ContentOwner.ITSELF),
    Magic("reiserfs", b"ReIsEr3Fs", ((64 << 10) + 52,), ContentOwner.ITSELF),
    Magic("reiserfs", b"ReIsErFs", ((64 << 10) + 52, (8 << 10) + 52), ContentOwner.ITSELF),
    Magic("reiser4", b"ReIsEr4", (64 << 10,), ContentOwner.ITSELF),
    Magic("jfs", b"JFS1", (32 << 10,), ContentOwner.ITSELF),
    Magic("apfs", b"NXSB", (32,), ContentOwner.ITSELF),
    Magic("hfsplus", b"H+\x00\x04", (1024,), ContentOwner.ITSELF),
    Magic("hfsplus", b"HX\x00\x05", (1024,), ContentOwner.ITSELF),
    Magic("squashfs", b"hsqs", (0,), ContentOwner.ITSELF),
    Magic("erofs", b"\xe2\xe1\xf5\xe0", (1024,), ContentOwner.ITSELF),
    Magic("cramfs", b"\x45\x3d\xcd\x28", (0,), ContentOwner.ITSELF),
    Magic("romfs", b"-rom1fs-", (0,), ContentOwner.ITSELF),
    Magic("iso9660", b"CD001", ((32 << 10) + 1,), ContentOwner.ITSELF),
    Magic("udf", b"BEA01", ((32 << 10) + 1,), ContentOwner.ITSELF),
    Magic("ufs", b"\x54\x19\x01\x00", ((8 << 10) + 1372, (64 << 10) + 1372), ContentOwner.ITSELF),
    Magic("ufs", b"\x19\x01\x54\x19", ((64 << 10) + 1372, (8 << 10) + 1372), ContentOwner.ITSELF),
    Magic("zonefs", b"SFOZ", (0,), ContentOwner.ITSELF),
    Magic("ubifs", b"\x31\x18\x10\x06", (0,), ContentOwner.ITSELF),
    Magic("nss", b"SPB5", (4096,), ContentOwner.ITSELF),
    Magic("vxfs", b"\xf5\xfc\x01\xa5", (1024,), ContentOwner.ITSELF),
    Magic("befs", b"1SFB", (512 + 32, 32), ContentOwner.ITSELF),
)


@dataclass(frozen=True)
class Foreign:
    """A signature: `kind` as blkid names it, its offset (bytes from the start), and the owner.

    If a device belongs to a larger whole, its own bytes cannot tell what may be done to it.
    """

    kind: str
    offset: int
    owner: ContentOwner = ContentOwner.WHOLE


class Ends:
    """A device, both ends of which are read once.

    Not `thorough`: nothing that lies between them is read.
    """

    def __init__(self, device: BlockDevice, head: bytes, *, thorough: bool = True) -> None:
        self._device, self._head, self.size, self._thorough = device, head, device.size, thorough
        self._tail_start = max(0, self.size - _NEAR_THE_END)
        self._tail = device.read(self._tail_start, self.size - self._tail_start)

    def at(self, offset: int, length: int) -> bytes:
        """`length` bytes; none if they would leave the device, or are not to be read."""
        if offset < 0 or offset + length > self.size:
            return b""
        if offset + length <= len(self._head):
            return self._head[offset : offset + length]
        if offset >= self._tail_start:
            return self._tail[offset - self._tail_start :][:length]
        return self._device.read(offset, length) if self._thorough else b""

    def last_sector(self) -> bytes:
        """Of the whole ones."""
        return self.at((self.size // _SECTOR - 1) * _SECTOR, _SECTOR)


def find_foreign(device: BlockDevice, head: bytes, *, thorough: bool = True) -> tuple[Foreign, ...]:
    """All signatures that are found, those of a larger whole first.

    `head` is the beginning of the device.
    """
    ends = Ends(device, head, thorough=thorough)
    found = [content for finder in _FINDERS for content in finder(ends)]
    return tuple(sorted(found, key=lambda content: content.owner is not ContentOwner.WHOLE))


def _by_magic(ends: Ends) -> Iterator[Foreign]:
    for magic in MAGICS:
        for place in magic.places:
            offset = place if place >= 0 else align_down(ends.size, _SECTOR) + place
            if ends.at(offset, len(magic.text)) == magic.text:
                yield Foreign(magic.kind, offset, magic.owner)
                break


def _linux_raid(ends: Ends) -> Iterator[Foreign]:
    """0.90 in the last whole 64 KiB but one, 1.0 near the end, 1.1 at the start, 1.2 at 4 KiB."""
    old = align_down(ends.size, _MD_RESERVED) - _MD_RESERVED
    for order in _MD0:
        raw = ends.at(old, struct.calcsize(order))
        if raw and _is_md0(struct.unpack(order, raw), old):
            yield Foreign("linux_raid_member", old)
    for offset in (align_down(ends.size, 4 * KiB) - 8 * KiB, 0, 4 * KiB):
        raw = ends.at(offset, _MD1.size)
        # super_offset must name the very sector: a copy of the bytes elsewhere is not a member.
        if raw and _MD1.unpack(raw) == (_MD_MAGIC, 1, offset // _SECTOR):
            yield Foreign("linux_raid_member", offset)


def _is_md0(fields: tuple[int, ...], offset: int) -> bool:
    magic, major, _minor, _patch, _words, size = fields
    # The array's data must end before its superblock: a leftover of a larger array is not a member.
    return magic == _MD_MAGIC and major == 0 and size * KiB <= offset


def _zfs(ends: Ends) -> Iterator[Foreign]:
    """Two labels at the start and two at the end, each with a ring of uberblocks: four suffice."""
    if ends.size < _ZFS_LEAST:
        return
    # ZFS rounds the device down to whole labels.
    last = align_down(ends.size, _ZFS_LABEL)
    places: list[int] = []
    for label in (0, _ZFS_LABEL, last - 2 * _ZFS_LABEL, last - _ZFS_LABEL):
        ring = ends.at(label + _ZFS_UBERBLOCKS, _ZFS_LABEL - _ZFS_UBERBLOCKS)
        places += [
            label + _ZFS_UBERBLOCKS + slot
            for slot in range(0, len(ring), _ZFS_SLOT)
            if ring.startswith(_ZFS_MAGICS, slot)
        ]
    # blkid demands as many.
    if len(places) >= _ZFS_ENOUGH:
        yield Foreign("zfs_member", places[0])


def _silicon(ends: Ends) -> Iterator[Foreign]:
    raw = ends.last_sector()
    if (
        len(raw) == _SECTOR
        and struct.unpack_from("<I", raw, 0x60)[0] == _SILICON_MAGIC
        and raw[0x116] < 8
    ):
        # The checksum makes the sum of all words up to itself 0.
        words = struct.unpack_from(f"<{_SILICON_SUM // 2 + 1}H", raw)
        if sum(words) & 0xFFFF == 0:
            yield Foreign("silicon_medley_raid_member", ends.size - _SECTOR)


def _via(ends: Ends) -> Iterator[Foreign]:
    raw = ends.last_sector()
    if raw[:2] == b"\x55\xaa" and raw[2] <= 2 and sum(raw[:_VIA_SUM]) & 0xFF == raw[_VIA_SUM]:
        yield Foreign("via_raid_member", ends.size - _SECTOR)


def _jmicron(ends: Ends) -> Iterator[Foreign]:
    raw = ends.last_sector()
    if raw[:2] == b"JM" and sum(struct.unpack_from(f"<{_JMICRON_SUM // 2}H", raw)) & 0xFFFF in (
        0,
        1,
    ):
        yield Foreign("jmicron_raid_member", ends.size - _SECTOR)


def _nilfs(ends: Ends) -> Iterator[Foreign]:
    """Its two superblocks say how large the device is, and the second one stands at its end."""
    for offset in (1024, (ends.size // _SECTOR - 8) * _SECTOR):
        # s_magic at 6, s_dev_size at 32
        raw = ends.at(offset, 48)
        if raw[6:8] == b"\x34\x34" and int.from_bytes(raw[32:40], "little") == ends.size:
            yield Foreign("nilfs2", offset, ContentOwner.ITSELF)
            return


def _journal(ends: Ends) -> Iterator[Foreign]:
    """A journal that an ext file system elsewhere has for itself."""
    raw = ends.at(1024, 100)
    if (
        raw[56:58] == _EXT_MAGIC.to_bytes(2, "little")
        and int.from_bytes(raw[96:100], "little") & _EXT_JOURNAL_DEVICE
    ):
        yield Foreign("jbd", 1024)


_Finder = Callable[[Ends], Iterator[Foreign]]
_FINDERS: tuple[_Finder, ...] = (
    _linux_raid,
    _by_magic,
    _zfs,
    _silicon,
    _via,
    _jmicron,
    _nilfs,
    _journal,
)
