"""Where mutants lie."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def memory_directory(tmp_path: Path) -> Iterator[Path]:
    """Where files cost no disk time, and may have holes of any length."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    directory = Path(tempfile.mkdtemp(prefix="growdisk-", dir="/dev/shm"))
    yield directory
    shutil.rmtree(directory)
