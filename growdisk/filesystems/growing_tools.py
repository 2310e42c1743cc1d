"""The programs that grow a file system, by its kind. Specs: ntfsresize(8), resize.f2fs(8)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# A check, and the growth, each with the device after it: these need no kernel.
UNMOUNTED: Mapping[str, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        "ntfs": (
            ("ntfsresize", "--no-progress-bar", "--no-action", "--force"),
            # ntfsresize(8): once for a volume that is marked to be checked, twice for no question.
            ("ntfsresize", "--no-progress-bar", "--force", "--force"),
        ),
        "f2fs": (("fsck.f2fs", "-f"), ("resize.f2fs",)),
    }
)
_OTHERS: Mapping[str, str] = MappingProxyType(
    {
        "xfs": "xfs_growfs",
        "btrfs": "btrfs",
        "ext2": "resize2fs",
        "ext3": "resize2fs",
        "ext4": "resize2fs",
    }
)


def growing_programs(kind: str) -> tuple[str, ...]:
    if kind in UNMOUNTED:
        return tuple(command[0] for command in UNMOUNTED[kind])
    return (_OTHERS[kind],)
