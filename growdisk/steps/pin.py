"""A pin remembers how a file looked when growdisk last left it alone, so that a change by anybody else is noticed.

It is removed before growdisk itself begins to write the file, and set again afterwards: no pin, no claim.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from growdisk.durable import replace_file, sync_directory


class Pin:
    """The pin at `path` on the file `target`: inode, size in bytes and modification time in nanoseconds."""

    def __init__(self, path: Path, target: Path) -> None:
        self._path, self._target = path, target

    def exists(self) -> bool:
        return self._path.exists()

    def set(self) -> None:
        replace_file(self._path, json.dumps(self._present()).encode())

    def remove(self) -> None:
        if self.exists():
            self._path.unlink()
            sync_directory(self._path.parent)

    def holds(self) -> bool:
        """False if there is a pin and the file is not as it was pinned."""
        return not self.exists() or json.loads(self._path.read_bytes()) == self._present()

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """For work that changes the file's modification time but nothing that can be read from it."""
        before = self._target.stat()
        try:
            yield
        finally:
            os.utime(self._target, ns=(before.st_atime_ns, before.st_mtime_ns))

    def _present(self) -> list[int]:
        status = self._target.stat()
        return [status.st_ino, status.st_size, status.st_mtime_ns]
