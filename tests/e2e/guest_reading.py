"""What lies in a guest's files after a run."""

from __future__ import annotations

from pathlib import Path

from tests.guests.manifest import as_raw, partition_start
from tests.guests.tools import run


def read(image: Path, path: str) -> str:
    with as_raw(image, "qcow2") as raw:
        return run("debugfs", "-R", f"cat {path}", f"{raw}?offset={partition_start(raw, 1)}")
