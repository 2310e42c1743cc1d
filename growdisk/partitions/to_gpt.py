"""An MBR as the GPT that would take its place: same numbers, same places.

Pure, and only where it is sound.

    MBR   [ 1 data ][ 2 extended [ 5 data ][ 6 swap ] ]
    GPT   [ 1 data ]             [ 5 data ][ 6 swap ]

A disk that a guest starts from is left alone: GRUB lies after the boot sector, where a GPT has its
entries, and an UEFI firmware remembers the MBR's signature. Identifiers are made of that signature:
the same plan is made twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from types import MappingProxyType

from growdisk.fast_dataclass import replace
from growdisk.partitions.table import EFI_SYSTEM, GPT_ENTRY_SIZE, PartitionTable, Role
from growdisk.units import align_up

_BOOT_CODE = 440
# What libparted puts there when it makes a table: it only starts a partition with the boot flag.
_OF_LIBPARTED = bytes.fromhex("fab800108ed0bc00b0b800008ed88ec0")
_LINUX, _BASIC = "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "83": _LINUX,
        "82": "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
        "8e": "E6D6D379-F507-44C2-A23C-238F2A3DF928",
        "fd": "A19D880F-05FC-4D3B-A006-743F0F84911E",
        "ef": EFI_SYSTEM,
        **dict.fromkeys(("1", "4", "6", "7", "b", "c", "e"), _BASIC),
    }
)
_NAMESPACE = uuid.UUID("9f0c7f0a-6b1b-4a64-9d1f-5a7c0a9e6d10")


def starts_something(boot_sector: bytes) -> bool:
    """Whether a boot sector has code of a boot loader in it."""
    code = boot_sector[:_BOOT_CODE]
    return any(code) and not code.startswith(_OF_LIBPARTED)


def next_sector_of_grub(boot_sector: bytes) -> int:
    """Where on the disk GRUB in a boot sector goes on; 0 if it has none.

    Mostly that is sector 1. Without room there, it is the first of the file's own blocks.
    """
    code = boot_sector[:_BOOT_CODE]
    if b"GRUB " not in code:
        return 0
    # GRUB Legacy has its version at 0x3e, and counts in 32 bits (stage1.h, boot.h).
    place = slice(0x44, 0x48) if code[0x3E:0x40] == b"\x03\x02" else slice(0x5C, 0x64)
    return int.from_bytes(code[place], "little")


def is_lilo(boot_sector: bytes) -> bool:
    """Whether the first stage of LILO or zipl is in it, which know files by the disk's sectors.

    Sources: lilo.h; s390-tools, struct scsi_mbr.
    """
    return boot_sector[6:11] == b"LILO\1" or boot_sector.startswith(b"zIPL")


def as_gpt(table: PartitionTable, disk_size: int, *, boot_code: bool) -> PartitionTable | str:
    """The same partitions as in this MBR in a GPT, on a disk of `disk_size` bytes; or why not."""
    if reason := _why_it_would_not_start(table, boot_code=boot_code):
        return reason
    # A GPT has no word for such space: it would look free.
    if table.claims:
        return f"{table.claims[0].what} speaks of space that no partition has"
    kept = [part for part in table.partitions if part.role is not Role.EXTENDED]
    if strange := [part for part in kept if part.type_code not in _TYPES]:
        number, kind = strange[0].number, strange[0].type_code
        return f"partition {number} is of type {kind}, which has no GPT type"
    # Number 0 is not a partition's: it makes the disk's own GUID.
    gpt = PartitionTable("gpt", _identifier(table, 0).upper(), table.sector_size, disk_size, ())
    # A partition of an MBR may begin right after sector 0, where a GPT has its header and entries.
    first = first_usable(gpt)
    last = disk_size - (first - gpt.sector_size)  # the backup needs as much, but for sector 0
    if tight := [part for part in kept if part.start < first or part.end > last]:
        return f"partition {tight[0].number} lies where a GPT has its own sectors"
    return gpt.with_partitions(
        replace(
            part,
            role=Role.PRIMARY,
            type_code=_TYPES[part.type_code],
            guid=_identifier(table, part.number),
        )
        for part in kept
    )


def first_usable(gpt: PartitionTable) -> int:
    """The first byte after the entries at the start of the disk."""
    return 2 * gpt.sector_size + align_up(gpt.gpt_entries * GPT_ENTRY_SIZE, gpt.sector_size)


def _why_it_would_not_start(table: PartitionTable, *, boot_code: bool) -> str:
    if any(part.bootable for part in table.partitions):
        return (
            "it has a boot flag: a guest starts from it by BIOS, and would not from a GPT "
            "without a new boot loader"
        )
    if boot_code:
        return "there is a boot loader in its first sectors, which a GPT would write over"
    if any(part.type_code == "ef" for part in table.partitions):
        return (
            "it has an EFI system partition, and a firmware's boot entry names it by the MBR "
            "that would be gone"
        )
    return ""


def _identifier(table: PartitionTable, number: int) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{table.disk_id}-{number:02x}"))
