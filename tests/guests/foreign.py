"""Signatures of what growdisk must leave alone, as their public formats have them:
bytes to be put on a volume.

Each entry says where its bytes go on a volume of some size. Whether they are what they should be is
for blkid to say.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Mapping
from types import MappingProxyType

SECTOR = 512
KiB, MiB = 1 << 10, 1 << 20

Pieces = list[tuple[int, bytes]]
"""(offset, bytes) on the volume."""


def _last(text: bytes, sectors: int = 1, at: int = 0) -> Callable[[int], Pieces]:
    return lambda size: [((size // SECTOR - sectors) * SECTOR + at, text)]


def _at(offset: int, text: bytes) -> Callable[[int], Pieces]:
    return lambda size: [(offset, text)]


def _md0(size: int, order: str = "<") -> Pieces:
    place = (size & ~0xFFFF) - 0x10000
    words = [0xA92B4EFC, 0, 90, 0, 0, 0x11111111, 0, 1, place // KiB, 2, 2, 0, 0, 1, 2, 3]
    return [(place, struct.pack(f"{order}16I", *words))]


def _md1(size: int, sector: int) -> Pieces:
    block = bytearray(256)
    struct.pack_into("<II", block, 0, 0xA92B4EFC, 1)
    block[16:32], block[32:40] = uuid.UUID(int=7).bytes, b"any:data"
    struct.pack_into("<QII", block, 64, 0, 1, 0)
    struct.pack_into("<Q", block, 144, sector)
    return [(sector * SECTOR, bytes(block))]


def _zfs(*labels: int) -> Callable[[int], Pieces]:
    """Two uberblocks in each label; 0 and 1 are at the start, 2 and 3 at the end."""

    def pieces(size: int) -> Pieces:
        last = size - size % (256 * KiB)
        starts = (0, 256 * KiB, last - 512 * KiB, last - 256 * KiB)
        ring = struct.pack("<QQQQQ", 0x00BAB10C, 5000, 4, 1, 1)
        return [(starts[n] + 128 * KiB + slot * KiB, ring) for n in labels for slot in (4, 5)]

    return pieces


def _silicon(size: int) -> Pieces:
    block = bytearray(SECTOR)
    struct.pack_into("<I", block, 0x60, 0x2F000000)
    struct.pack_into("<HH", block, 0x10A, 1, 2)
    total = sum(struct.unpack_from("<159H", block))
    struct.pack_into("<H", block, 0x13E, -total & 0xFFFF)
    return _last(bytes(block))(size)


def _via(size: int) -> Pieces:
    block = bytearray(b"\x55\xaa\x01" + bytes(47))
    return _last(bytes(block) + bytes([sum(block) & 0xFF]))(size)


def _jmicron(size: int) -> Pieces:
    block = bytearray(b"JM\x01\x02" + bytes(124))
    struct.pack_into("<H", block, 4, -sum(struct.unpack("<64H", block)) & 0xFFFF)
    return _last(bytes(block))(size)


def _stratis(size: int) -> Pieces:
    body = (
        b"!Stra0tis\x86\xff\x02^\x41rh"
        + struct.pack("<Q", size // SECTOR)
        + bytes(4)
        + b"a" * 32
        + b"b" * 32
    )
    body = body.ljust(SECTOR - 4, b"\0")
    return [(SECTOR, struct.pack("<I", _crc32c(body)) + body)]


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _bitlocker(size: int) -> Pieces:
    head = bytearray(SECTOR)
    head[:11] = b"\xeb\x58\x90-FVE-FS-"
    struct.pack_into("<Q", head, 176, MiB)
    return [(0, bytes(head)), (MiB, b"-FVE-FS-" + struct.pack("<HH", 64, 2))]


AT_THE_END: Mapping[str, tuple[str, Callable[[int], Pieces]]] = MappingProxyType(
    {
        "md 0.90": ("linux_raid_member", _md0),
        "md 0.90 of a big-endian machine": ("linux_raid_member", lambda size: _md0(size, ">")),
        "md 1.0": ("linux_raid_member", lambda size: _md1(size, (size // SECTOR - 16) & ~7)),
        "DDF": ("ddf_raid_member", _last(b"\xde\x11\xde\x11")),
        "DDF, its second header": ("ddf_raid_member", _last(b"\xde\x11\xde\x11", 257)),
        "Intel": ("isw_raid_member", _last(b"Intel Raid ISM Cfg Sig. 1.3.00", 2)),
        "LSI": ("lsi_mega_raid_member", _last(b"$XIDE$")),
        "VIA": ("via_raid_member", _via),
        "Silicon Image": ("silicon_medley_raid_member", _silicon),
        "Nvidia": ("nvidia_raid_member", _last(b"NVIDIA  ", 2)),
        "Promise": ("promise_fasttrack_raid_member", _last(b"Promise Technology, Inc.", 63)),
        "Promise, far from the end": ("promise_fasttrack_raid_member",
            _last(b"Promise Technology, Inc.", 3087)),
        "HighPoint 45x": ("hpt45x_raid_member", _last(b"\xf3\x16\x78\x5a", 11)),
        "Adaptec": ("adaptec_raid_member", lambda size: [
            *_last(b"\x37\xfc\x4d\x1e")(size), *_last(b"DPTM", at=256)(size),
        ]),
        "JMicron": ("jmicron_raid_member", _jmicron),
        "DRBD 8": ("drbd", lambda size: [(size - 4096 + 60, b"\x83\x74\x02\x6b")]),
        "DRBD 8.4, unclean": ("drbd", lambda size: [(size - 4096 + 60, b"\x83\x74\x02\x6c")]),
        "DRBD 9": ("drbd", lambda size: [(size - 4096 + 60, b"\x83\x74\x02\x6d")]),
    }
)  # fmt: skip
"""Name → kind as blkid has it, and where its bytes go.

A file system may stand at the start of the same volume.
"""

AT_THE_START: Mapping[str, tuple[str, Callable[[int], Pieces]]] = MappingProxyType(
    {
        "md 1.1": ("linux_raid_member", lambda size: _md1(size, 0)),
        "md 1.2": ("linux_raid_member", lambda size: _md1(size, 8)),
        "HighPoint 37x": ("hpt37x_raid_member", _at(4640, b"\xf0\x16\x78\x5a")),
        "ZFS": ("zfs_member", _zfs(0, 1, 2, 3)),
        "ZFS, of which only the end is left": ("zfs_member", _zfs(2, 3)),
        "Stratis": ("stratis", _stratis),
        "VDO": ("vdo", _at(0, b"dmvdo001")),
        "BitLocker": ("BitLocker", _bitlocker),
        "VMFS": ("VMFS_volume_member", _at(MiB, b"\x0d\xd0\x01\xc0")),
        "Ceph": ("ceph_bluestore", _at(0, b"bluestore block device\n")),
        "a snapshot's store": ("DM_snapshot_cow", _at(0, b"SnAp" + struct.pack("<III", 1, 1, 16))),
        "LVM 1": ("LVM1_member", _at(0, b"HM\x01\x00")),
        "the second header of LUKS2": ("crypto_LUKS", _at(0x8000, b"SKUL\xba\xbe\x00\x02")),
        "Oracle ASM": ("oracleasm", _at(32, b"ORCLDISK")),
        "ReFS": ("ReFS", _at(0, b"\x00\x00\x00ReFS\x00")),
        "squashfs": ("squashfs", _at(0, b"hsqs" + bytes(24) + struct.pack("<HH", 4, 0))),
        "reiser4": ("reiser4", _at(64 * KiB, b"ReIsEr4")),
        "erofs": ("erofs", _at(KiB, b"\xe2\xe1\xf5\xe0")),
    }
)
