"""Partition types of something larger, or of a system that keeps metadata elsewhere.

MBR types as sfdisk prints them (lower-case hex), GPT types as GUIDs (UEFI, and the vendors' own
lists). LVM is not among them, which growdisk knows; nor are types that only name an operating
system.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from growdisk.partitions.table import Partition, PartitionTable

DYNAMIC_DISK = "a dynamic disk of Windows (LDM)"

_RAID, _ZFS, _VMWARE = "Linux RAID", "ZFS or Solaris", "VMware ESX"
OWNERS: Mapping[str, str] = MappingProxyType(
    {
        "fd": _RAID,
        "A19D880F-05FC-4D3B-A006-743F0F84911E": _RAID,
        "42": DYNAMIC_DISK,
        "5808C8AA-7E8F-42E0-85D2-E1E90434CFB3": DYNAMIC_DISK,
        "AF9B60A0-1431-4F62-BC68-3311714A69AD": DYNAMIC_DISK,
        **dict.fromkeys(
            ("86", "87", "8b", "8c", "b6", "b7", "c6", "c7"), "a volume or stripe set of Windows NT"
        ),
        "E75CAF8F-F680-4CEE-AFA3-B001E56EFC2D": "Storage Spaces of Windows",
        "558D43C5-A1AC-43C0-AAC8-D1472B2923D1": "Storage Replica of Windows",
        **dict.fromkeys(("fb", "fc"), _VMWARE),
        "AA31E02A-400F-11DB-9590-000C2911D1B8": "VMware ESX (VMFS)",
        "9D275380-40AD-11DB-BF97-000C2911D1B8": "VMware ESX (core dumps)",
        "381CFCCC-7288-11E0-92EE-000C2911D0B2": "VMware vSAN",
        "9198EFFC-31C0-11DB-8F78-000C2911D1B8": _VMWARE,
        **dict.fromkeys(("bf", "be"), _ZFS),
        "6A85CF4D-1DD2-11B2-99A6-080020736631": _ZFS,
        "6A898CC3-1DD2-11B2-99A6-080020736631": _ZFS,
        "6A945A3B-1DD2-11B2-99A6-080020736631": _ZFS,
        "516E7CBA-6ECF-11D6-8FF8-00022D09712B": "ZFS of FreeBSD",
        "516E7CB8-6ECF-11D6-8FF8-00022D09712B": "Vinum of FreeBSD",
        "49F48DAA-B10E-11DC-B99B-0019D1879648": "RAID of NetBSD",
        "2DB519C4-B10F-11DC-B99B-0019D1879648": "concatenated disks of NetBSD",
        "52414944-0000-11AA-AA11-00306543ECAC": "RAID of Apple",
        "52414944-5F4F-11AA-AA11-00306543ECAC": "RAID of Apple",
        "53746F72-6167-11AA-AA11-00306543ECAC": "Core Storage of Apple",
        "7C3457EF-0000-11AA-AA11-00306543ECAC": "APFS of Apple",
        "3CB8E202-3B7E-47DD-8A3C-7FF2A13CFCEC": "ChromeOS, which verifies all of it",
        "5DFBF5F4-2848-4BAC-AA5E-0D9A20B745A6": "Flatcar or CoreOS, which verifies all of it",
        "89A12DE1-5E41-4CB3-8B4C-B1441EB5DA38": "Android, which has a table of its own in it",
        "37AFFC90-EF7D-4E96-91C3-2D7AE055B174": "GPFS of IBM",
        **dict.fromkeys(("a5", "a6", "a9"), "BSD, which has a table of its own in it"),
        "516E7CB4-6ECF-11D6-8FF8-00022D09712B": "FreeBSD, which has a table of its own in it",
        "824CC7A0-36A8-11E3-890A-952519AD3F61": "OpenBSD, which has a table of its own in it",
        **dict.fromkeys(
            ("9D087404-1CA5-11DC-8817-01301BB8A9F5", "3D48CE54-1D16-11DC-8696-01301BB8A9F5", "6c"),
            "DragonFly BSD, which has a table of its own in it",
        ),
    }
)


def owner_of(part: Partition) -> str:
    """Who the partition belongs to by its type; "" if that says nothing of the kind."""
    return OWNERS.get(part.type_code, "")


def is_dynamic_disk(table: PartitionTable) -> bool:
    """Whether it is a dynamic disk: Windows keeps a database of all its volumes at the end.

    The table alone says little then.
    """
    return any(owner_of(part) == DYNAMIC_DISK for part in table.partitions)
