"""A round as --json shows it: for the command line, and for the tasks of playbooks."""

from __future__ import annotations

from growdisk.api.watching.actions import Deed
from growdisk.api.watching.round import Round


def round_document(ended: Round) -> dict[str, object]:
    return {
        "code": ended.code, "dry_run": ended.dry_run, "seconds": round(ended.seconds, 3),
        "disks": [_deed(deed) for deed in ended.deeds],
    }  # fmt: skip


def _deed(deed: Deed) -> dict[str, object]:
    entry = deed.entry
    return {
        "name": entry.name, "path": entry.path or None, "domain": entry.domain or None,
        "fullness": round(100 * entry.fullness, 1) if entry.fullest else None, "size": entry.virtual_size,
        "result": deed.result, "code": deed.code, "detail": deed.detail, "seconds": round(deed.seconds, 3),
        "new_size": deed.new_size,
    }  # fmt: skip
