"""A tmp_path in memory, for disks: libparted and sfdisk sync every file that they write."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    shared_memory = Path("/dev/shm")
    if not shared_memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="growdisk-test-", dir=shared_memory) as folder:
        yield Path(folder)
