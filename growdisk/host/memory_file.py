"""A file in memory that has a path: a guest's bytes are not for the host's disk, which may not be encrypted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def memory_file(content: bytes = b"") -> Iterator[Path]:
    """The path by which this process opens it; it is gone after the block."""
    with os.fdopen(os.memfd_create("growdisk"), "wb") as file:
        file.write(content)
        file.flush()
        yield Path(f"/proc/self/fd/{file.fileno()}")
