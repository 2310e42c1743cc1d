"""The boot sector of NTFS. Its label lies in the master file table and is not read here."""

from __future__ import annotations

import struct

from growdisk.filesystems.content import Content

_BOOT_SECTOR = struct.Struct("<3x8sH27xQ24xQ")  # "NTFS", bytes per sector, sectors, serial number


def read_ntfs(head: bytes) -> Content | None:
    if len(head) < 512:
        return None
    name, sector_size, sectors, serial = _BOOT_SECTOR.unpack_from(head)
    if name != b"NTFS    " or sector_size not in (256, 512, 1024, 2048, 4096):
        return None
    # The backup of the boot sector follows the last sector counted.
    return Content("ntfs", f"{serial:016X}", size=(sectors + 1) * sector_size)
