"""Magic bytes at fixed places of contents that growdisk must not touch, named as blkid names them.

A place is counted from the start of the device, or (negative) from its end, as the formats' public
documents have it. What a magic alone does not prove (two bytes, a checksum to be counted) is in
foreign.py, or left to blkid itself.
"""

from __future__ import annotations

from enum import Enum

from growdisk.fast_dataclass import dataclass


class ContentOwner(Enum):
    """Whom a content belongs to: itself, or a whole that the device is part of (array, pool).

    A key counts as such a whole, too.
    """

    ITSELF = "itself"
    WHOLE = "whole"


@dataclass(frozen=True)
class Magic:
    """`places` are the bytes that it may begin at."""

    kind: str
    text: bytes
    places: tuple[int, ...]
    owner: ContentOwner = ContentOwner.WHOLE


_SECTOR = 512
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
