"""A fingerprint: how a file was when growdisk last left it, to notice a change by anybody else.

A device, or a disk that another host serves, has no time of its own that every writer changes, and
another inode after a restart: its fingerprint is of the bytes that a guest changes when it starts.

It is lifted before growdisk itself begins to write to the file, and set again afterwards: no
fingerprint, no claim. A lifted one keeps its space on the host, so that it can be set again on a
full disk.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from growdisk.durable import overwrite_file, read_record, remove_files, rename_file, replace_file
from growdisk.units import ByteRange
from growdisk.workflow.journal import record_unreadable
from growdisk.workflow.run_places import is_device_or_served

_LENGTH = 128  # bytes; always the same, so that one can be written over the other

_MILLISECOND = 10**6  # in nanoseconds


class ImageFingerprint:
    """At `path`, of the file `target`: inode, size in bytes, modification time in ns.

    On a device: a digest of the bytes in `samples`.
    """

    def __init__(self, path: Path, target: Path, samples: Sequence[ByteRange] = ()) -> None:
        self._path, self._target, self._samples = path, target, tuple(samples)
        self._lifted = path.with_name(path.name + ".lifted")

    def exists(self) -> bool:
        return self._path.exists()

    def set(self) -> None:
        if self.exists() and self.matches():
            return
        self.lift()
        # JSON ignores the blanks that fill it up.
        content = json.dumps(self._present()).encode().ljust(_LENGTH)
        # The first time there is no lifted fingerprint: this takes its space on the host.
        if not self._lifted.exists():
            replace_file(self._path, content)
            return
        # Written over and then renamed: on a full disk there is no room for a new file.
        overwrite_file(self._lifted, content)
        rename_file(self._lifted, self._path)

    def lift(self) -> None:
        """From now on it is growdisk itself that changes the file."""
        if self.exists():
            rename_file(self._path, self._lifted)

    def remove(self) -> None:
        """Nothing will be claimed any more."""
        remove_files(self._lifted, self._path, self._path.with_name(self._path.name + ".new"))

    def matches(self) -> bool:
        """False if there is a fingerprint and the file is not as it was then."""
        if not self.exists():
            return True
        try:
            old_inode, *old = json.loads(read_record(self._path))
        except (OSError, ValueError, TypeError) as error:
            raise record_unreadable(self._path, reason=str(error) or "it is damaged") from error
        inode, *present = self._present()
        # A copy that keeps the time (rsync -a) has another inode, and is as good as the file. A
        # time of whole milliseconds does not prove that: tools with coarse clocks may set the same
        # one by chance.
        return old == present and (inode == old_inode or present[-1] % _MILLISECOND != 0)

    def _present(self) -> list[int]:
        status = self._target.stat()
        if not is_device_or_served(self._target):
            return [status.st_ino, status.st_size, status.st_mtime_ns]
        digest = hashlib.sha256()
        with self._target.open("rb", buffering=0) as device:
            for sample in self._samples:
                digest.update(os.pread(device.fileno(), sample.length, sample.start))
        return [0, 0, int.from_bytes(digest.digest()[:8])]
