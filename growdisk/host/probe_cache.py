"""Cached results of probing this machine, each valid until something that it depends on changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from growdisk.durable import replace_file, user_folder


def cached_probe(
    name: str, facts: Sequence[object], probe: Callable[[], Mapping[str, str]], *, fresh: bool
) -> Mapping[str, str]:
    """What `probe` finds out, which depends on `facts` and on this boot; `fresh` tries again."""
    # All of that is in the name of the file: when one of them changes, the old record is not found
    # any more. A reboot may bring another kernel or other rights.
    facts_text = repr((Path("/proc/sys/kernel/random/boot_id").read_text(), *facts))
    digest = hashlib.sha256(facts_text.encode()).hexdigest()[:16]
    file = user_folder("XDG_CACHE_HOME", ".cache") / f"{name}-{digest}.json"
    if not fresh and (known := _recalled(file)) is not None:
        return known
    found = probe()
    with suppress(OSError):  # a read-only home costs a probe each time, nothing else
        file.parent.mkdir(parents=True, exist_ok=True)
        # Only the last result is kept.
        for outdated in file.parent.glob(f"{name}-*.json"):
            outdated.unlink()
        replace_file(file, json.dumps(dict(found)).encode())
    return found


def _recalled(file: Path) -> Mapping[str, str] | None:
    try:
        record = json.loads(file.read_text())
        return {str(key): str(value) for key, value in record.items()}
    except (OSError, ValueError, AttributeError):
        return None


def file_facts(path: Path) -> tuple[int, int, int]:
    """What changes when another file is put in its place."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
