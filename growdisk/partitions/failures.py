"""Errors about a partition table that are no damage."""

from __future__ import annotations

from pathlib import Path

from growdisk.errors import OperationFailed, Refused


def table_unsupported(path: Path, reason: str, hint: str) -> Refused:
    return Refused.named(
        "table-unsupported",
        "cannot work on the partition table of {path}",
        "{reason}",
        "{hint}; growdisk has not changed it",
        {"path": path, "reason": reason, "hint": hint},
    )


def table_rewrite_failed(path: Path, reason: str) -> OperationFailed:
    return OperationFailed.named(
        "table-rewrite-failed",
        "cannot write the new partition table of {path}",
        "{reason}",
        "check that parted and sfdisk can read the image's table; it has not been changed",
        {"path": path, "reason": reason},
    )
