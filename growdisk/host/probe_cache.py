"""Cached results of probing this machine, each valid until something that it depends on changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from growdisk.durable import replace_file, user_folder


def cache_directory() -> Path:
    """Where growdisk keeps what it can find out again."""
    return user_folder("XDG_CACHE_HOME", ".cache")


class CachedProbe:
    """The record of the probe `name`: its result depends on `facts`, and on this boot."""

    def __init__(self, name: str, *facts: object) -> None:
        self._name = name
        # All of that is in the name of the file: when one of them changes, the old record is not
        # found any more. A reboot may bring another kernel or other rights.
        facts_text = repr((Path("/proc/sys/kernel/random/boot_id").read_text(), *facts))
        self._file = (
            cache_directory()
            / f"{name}-{hashlib.sha256(facts_text.encode()).hexdigest()[:16]}.json"
        )

    def recall(self) -> dict[str, str] | None:
        try:
            record = json.loads(self._file.read_text())
            return {str(key): str(value) for key, value in record.items()}
        except (OSError, ValueError, AttributeError):
            return None

    def remember(self, record: Mapping[str, str]) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            # Only the last result is kept.
            for outdated in self._file.parent.glob(f"{self._name}-*.json"):
                outdated.unlink()
            replace_file(self._file, json.dumps(dict(record)).encode())
        except OSError:  # a read-only home costs a probe each time, nothing else
            return


def file_facts(path: Path) -> tuple[int, int, int]:
    """What changes when another file is put in its place."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
