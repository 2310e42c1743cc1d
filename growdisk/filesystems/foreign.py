"""Finds what growdisk must not touch on a device: arrays, pools, unknown file systems or tables.

Signatures are looked for at both of its ends, by magic bytes at fixed places or, if these do not
prove enough, by a function; kinds are named as blkid names them. This is the opinion of growdisk
alone. If blkid is available, it is asked as well (api/second_opinion.py).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from functools import reduce
from operator import xor

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

_SILICON_MAGIC, _SILICON_WORDS = 0x2F000000, 0xA0
_VIA_SUM, _JMICRON_WORDS = 50, 64

_EXT_MAGIC, _EXT_JOURNAL_DEVICE = 0xEF53, 0x8


# Sectors from the end, as blkid has them.
_PROMISE = (63, 255, 256, 16, 399, 591, 675, 735, 911, 974, 991, 951, 3087)
# LUKS2 keeps a second header after the first; it may start at any of these places, 16 KiB to 4 MiB.
_LUKS2_SECOND = tuple(0x4000 << power for power in range(9))

_Magic = tuple[str, bytes, tuple[int, ...]]
# Kinds, their magic, and the bytes that it may begin at; negative ones count from the device's end.
# These are parts of something larger (an array, a pool), or a key to it.
_MEMBERS: tuple[_Magic, ...] = (
    # Arrays of disk controllers: at the end.
    ("ddf_raid_member", b"\xde\x11\xde\x11", (-_SECTOR, -257 * _SECTOR)),
    ("ddf_raid_member", b"\x11\xde\x11\xde", (-_SECTOR, -257 * _SECTOR)),
    ("isw_raid_member", b"Intel Raid ISM Cfg Sig. ", (-2 * _SECTOR,)),
    ("lsi_mega_raid_member", b"$XIDE$", (-_SECTOR,)),
    ("nvidia_raid_member", b"NVIDIA", (-2 * _SECTOR,)),
    (
        "promise_fasttrack_raid_member",
        b"Promise Technology, Inc.",
        tuple(-n * _SECTOR for n in _PROMISE),
    ),
    ("hpt45x_raid_member", b"\xf3\x16\x78\x5a", (-11 * _SECTOR,)),
    ("hpt45x_raid_member", b"\xfd\x16\x78\x5a", (-11 * _SECTOR,)),
    ("hpt37x_raid_member", b"\xf0\x16\x78\x5a", (4640,)),
    ("hpt37x_raid_member", b"\xfd\x16\x78\x5a", (4640,)),
    ("adaptec_raid_member", b"\x37\xfc\x4d\x1e", (-_SECTOR,)),
    # FreeBSD's, of mirrors, encryption (geli) and labels alike: in the last sector, of 512 or 4096
    # bytes.
    ("geom", b"GEOM::", (-_SECTOR, -4 * KiB)),
    # Parts of something else.
    ("drbd", b"\x83\x74\x02\x6b", (-4096 + 60,)),
    ("drbd", b"\x83\x74\x02\x6c", (-4096 + 60,)),
    ("drbd", b"\x83\x74\x02\x6d", (-4096 + 60,)),
    ("drbdmanage_control_volume", b"$DRBDmgr=q", (0,)),
    ("drbdproxy_datalog", b"DRBDdlh*", (16,)),
    ("bcache", b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", (4096 + 24,)),
    ("bcachefs", b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", (4096 + 24,)),
    ("ceph_bluestore", b"bluestore block device", (0,)),
    ("stratis", b"!Stra0tis\x86\xff\x02^\x41rh", (_SECTOR + 4, 9 * _SECTOR + 4)),
    ("vdo", b"dmvdo001", (0,)),
    ("VMFS_volume_member", b"\x0d\xd0\x01\xc0", (1 << 20,)),
    ("VMFS", b"\x5e\xf1\xab\x2f", (2 << 20,)),
    ("LVM1_member", b"HM\x01\x00", (0,)),
    ("LVM1_member", b"HM\x02\x00", (0,)),
    ("DM_snapshot_cow", b"SnAp", (0,)),
    ("DM_verity_hash", b"verity\0\0", (0,)),
    ("avb_footer", b"AVBf", (-64,)),  # Android's Verified Boot
    ("DM_integrity", b"integrt\0", (0,)),
    ("crypto_LUKS", b"SKUL\xba\xbe", _LUKS2_SECOND),
    ("BitLocker", b"-FVE-FS-", (3,)),
    ("oracleasm", b"ORCLDISK", (32,)),
    ("gfs2", b"\x01\x16\x19\x70\x00\x00\x00\x01", (64 << 10,)),
    ("xfs_external_log", b"\xfe\xed\xba\xbe", (0,)),
    ("ocfs2", b"OCFSV2", (1024, 2048, 4096, 8192)),
    ("ubi", b"UBI#", (0,)),
    ("mpool", b"mpoolDev", (0,)),
)
# File systems that growdisk does not grow.
_FILE_SYSTEMS: tuple[_Magic, ...] = (
    ("ReFS", b"\0\0\0ReFS\0", (0,)),
    ("reiserfs", b"ReIsEr2Fs", ((64 << 10) + 52, (8 << 10) + 52)),
    ("reiserfs", b"ReIsEr3Fs", ((64 << 10) + 52,)),
    ("reiserfs", b"ReIsErFs", ((64 << 10) + 52, (8 << 10) + 52)),
    ("reiser4", b"ReIsEr4", (64 << 10,)),
    ("jfs", b"JFS1", (32 << 10,)),
    ("apfs", b"NXSB", (32,)),
    ("hfsplus", b"H+\x00\x04", (1024,)),
    ("hfsplus", b"HX\x00\x05", (1024,)),
    ("squashfs", b"hsqs", (0,)),
    ("erofs", b"\xe2\xe1\xf5\xe0", (1024,)),
    ("cramfs", b"\x45\x3d\xcd\x28", (0,)),
    ("romfs", b"-rom1fs-", (0,)),
    ("iso9660", b"CD001", ((32 << 10) + 1,)),
    ("udf", b"BEA01", ((32 << 10) + 1,)),
    ("ufs", b"\x54\x19\x01\x00", ((8 << 10) + 1372, (64 << 10) + 1372)),
    ("ufs", b"\x19\x01\x54\x19", ((64 << 10) + 1372, (8 << 10) + 1372)),
    ("zonefs", b"SFOZ", (0,)),
    ("ubifs", b"\x31\x18\x10\x06", (0,)),
    ("nss", b"SPB5", (4096,)),
    ("vxfs", b"\xf5\xfc\x01\xa5", (1024,)),
    ("befs", b"1SFB", (512 + 32, 32)),
)
MEMBER_KINDS = frozenset(kind for kind, *_ in _MEMBERS)
UNKNOWN_TO_BLKID = ("geom", "avb_footer")


@dataclass(frozen=True)
class Foreign:
    """A signature: `kind` as blkid names it, and its offset (bytes from the start).

    `is_member`: the device is part of a larger whole (an array, a pool), or a key to it: its own
    bytes cannot tell what may be done to it.
    """

    kind: str
    offset: int
    is_member: bool = True


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


def find_foreign(device: BlockDevice, head: bytes, *, thorough: bool = True) -> tuple[Foreign, ...]:
    """All signatures that are found, those of a larger whole first.

    `head` is the beginning of the device.
    """
    ends = Ends(device, head, thorough=thorough)
    finders = (_linux_raid, _by_magic, _zfs, _summed_raid, _nilfs, _journal)
    found = [content for finder in finders for content in finder(ends)]
    return tuple(sorted(found, key=lambda content: not content.is_member))


def _by_magic(ends: Ends) -> Iterator[Foreign]:
    for is_member, magics in ((True, _MEMBERS), (False, _FILE_SYSTEMS)):
        for kind, magic, places in magics:
            for place in places:
                offset = place if place >= 0 else align_down(ends.size, _SECTOR) + place
                if ends.at(offset, len(magic)) == magic:
                    yield Foreign(kind, offset, is_member)
                    break


def _linux_raid(ends: Ends) -> Iterator[Foreign]:
    """0.90 in the last whole 64 KiB but one, 1.0 near the end, 1.1 at the start, 1.2 at 4 KiB."""
    old = align_down(ends.size, _MD_RESERVED) - _MD_RESERVED
    for order in _MD0:
        if not (raw := ends.at(old, struct.calcsize(order))):
            continue
        magic, major, _minor, _patch, _words, size = struct.unpack(order, raw)
        # The array's data must end before its superblock: a leftover of a larger array is not a
        # member.
        if magic == _MD_MAGIC and major == 0 and size * KiB <= old:
            yield Foreign("linux_raid_member", old)
    for offset in (align_down(ends.size, 4 * KiB) - 8 * KiB, 0, 4 * KiB):
        raw = ends.at(offset, _MD1.size)
        # super_offset must name the very sector: a copy of the bytes elsewhere is not a member.
        if raw and _MD1.unpack(raw) == (_MD_MAGIC, 1, offset // _SECTOR):
            yield Foreign("linux_raid_member", offset)


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


def _summed_raid(ends: Ends) -> Iterator[Foreign]:
    """Arrays of controllers whose magic, in the last whole sector, needs a checksum as well."""
    raw = ends.at((ends.size // _SECTOR - 1) * _SECTOR, _SECTOR)
    if len(raw) < _SECTOR:
        return
    magic, words = struct.unpack_from("<I", raw, 0x60)[0], struct.unpack("<256H", raw)
    # The checksum of Silicon makes the sum of all words up to itself 0.
    if magic == _SILICON_MAGIC and raw[0x116] < 8 and not sum(words[:_SILICON_WORDS]) & 0xFFFF:
        yield Foreign("silicon_medley_raid_member", ends.size - _SECTOR)
    if raw[:2] == b"\x55\xaa" and raw[2] <= 2 and sum(raw[:_VIA_SUM]) & 0xFF == raw[_VIA_SUM]:
        yield Foreign("via_raid_member", ends.size - _SECTOR)
    if raw[:2] == b"JM" and sum(words[:_JMICRON_WORDS]) & 0xFFFF in (0, 1):
        yield Foreign("jmicron_raid_member", ends.size - _SECTOR)


def _nilfs(ends: Ends) -> Iterator[Foreign]:
    """Its two superblocks say how large the device is, and the second one stands at its end."""
    for offset in (1024, (ends.size // _SECTOR - 8) * _SECTOR):
        # s_magic at 6, s_dev_size at 32
        raw = ends.at(offset, 48)
        if raw[6:8] == b"\x34\x34" and int.from_bytes(raw[32:40], "little") == ends.size:
            yield Foreign("nilfs2", offset, is_member=False)
            return


def _journal(ends: Ends) -> Iterator[Foreign]:
    """A journal that an ext file system elsewhere has for itself."""
    raw = ends.at(1024, 100)
    if (
        raw[56:58] == _EXT_MAGIC.to_bytes(2, "little")
        and int.from_bytes(raw[96:100], "little") & _EXT_JOURNAL_DEVICE
    ):
        yield Foreign("jbd", 1024)


# --- partition tables where a file system is looked for ------------------------------------------

# A whole disk in a partition or a volume. Its places count from its own start, and a GPT keeps its
# backup at its own end: neither grows with what it lies in.

GPT_KIND, MBR_KIND = "gpt_table", "dos_table"

_GPT_HEADER = struct.Struct("<8s4sII")  # signature, revision, size of the header, its checksum
_CRC_AT = 16
_ENTRIES_AT, _ENTRY = 446, struct.Struct("<B3xB3xII")  # boot flag, type, first sector, count
_BOOT_FLAG, _PROTECTIVE = 0x80, 0xEE
_RIGID_DISK_BLOCKS = 16  # an Amiga looks for its table in so many sectors


def nested_gpt(head: bytes) -> str:
    """Its kind, or "".

    The protective MBR before it makes it valid; without one it is a leftover.
    """
    header = head[_SECTOR : 2 * _SECTOR]
    if len(header) < _SECTOR or not any(kind == _PROTECTIVE for _, kind, _, _ in _entries(head)):
        return ""
    signature, _revision, size, checksum = _GPT_HEADER.unpack_from(header)
    if signature != b"EFI PART" or not _GPT_HEADER.size <= size <= _SECTOR:
        return ""
    # The checksum is taken with its own field as zeros.
    summed = header[:_CRC_AT] + bytes(4) + header[_CRC_AT + 4 : size]
    return GPT_KIND if zlib.crc32(summed) == checksum else ""


def nested_mbr(head: bytes, size: int) -> str:
    """Its kind, or "".

    The end mark stands in every boot sector; entries that make sense are in a table only.
    """
    entries = _entries(head)
    used = [(first, count) for _, kind, first, count in entries if kind and count]
    sound = all(flag in (0, _BOOT_FLAG) for flag, *_ in entries)
    inside = all(first and (first + count) * _SECTOR <= size for first, count in used)
    return MBR_KIND if used and sound and inside else ""


def foreign_table(head: bytes) -> str:
    """The table of another kind that a disk has, in words; "" if it has none.

    A GPT counts only after a protective MBR: without one no system takes it for a GPT.
    """
    if head[_SECTOR : _SECTOR + 8] == b"EFI PART":
        return "a GPT, but no protective MBR, without which no system uses it (gdisk writes one)"
    for name, found in (
        ("SGI", head.startswith(b"\x0b\xe5\xa9\x41")),
        # The words of a Sun label, its checksum among them, give 0.
        ("Sun", head[508:510] == b"\xda\xbe" and not reduce(xor, _words(head[:_SECTOR]))),
        ("Apple", head.startswith(b"ER") and head[_SECTOR : _SECTOR + 2] == b"PM"),
        (
            "Amiga",
            b"RDSK"
            in (head[at : at + 4] for at in range(0, _RIGID_DISK_BLOCKS * _SECTOR, _SECTOR)),
        ),
        # DISKMAGIC (0x82564557, little-endian). Where the label is depends on the architecture.
        ("BSD", b"WEV\x82" in (head[at : at + 4] for at in (0, 64, _SECTOR))),
    ):
        if found:
            return f"a partition table of {name}, which growdisk does not know"
    return ""


def _words(sector: bytes) -> Iterator[int]:
    return (word for (word,) in struct.iter_unpack(">H", sector))


def _entries(head: bytes) -> list[tuple[int, int, int, int]]:
    """Flag, type, first sector, count; none if there is no mark of a boot record."""
    if head[510:512] != b"\x55\xaa":
        return []
    return [_ENTRY.unpack_from(head, _ENTRIES_AT + slot * _ENTRY.size) for slot in range(4)]
