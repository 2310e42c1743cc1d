"""A round as --json shows it: for the command line, and for the tasks of playbooks."""

from __future__ import annotations

from growdisk.api.watching.actions import Action
from growdisk.api.watching.round import Round


def round_document(ended: Round) -> dict[str, object]:
    return {
        "code": ended.code,
        "dry_run": ended.dry_run,
        "seconds": round(ended.seconds, 3),
        "disks": [_disk(action) for action in ended.actions],
    }


def _disk(action: Action) -> dict[str, object]:
    entry = action.entry
    return {
        "name": entry.name,
        "path": entry.path or None,
        "domain": entry.domain or None,
        "fullness": round(100 * entry.fullness, 1) if entry.fullest else None,
        "size": entry.virtual_size,
        "result": action.result,
        "code": action.code,
        "detail": action.detail,
        "seconds": round(action.seconds, 3),
        "new_size": action.new_size,
    }
