"""A file that appears whole or not at all, and never in the place of another.

It grows under a name of its own beside its place (`.NAME.growdisk-new`) and gets its real one by
link(), which fails where rename() would overwrite. What a killed process left under that name is
removed, unless somebody holds it.

A block device is the exception: it is there already, is written in place, and keeps what it got
until a failure.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from growdisk.api.guard import refuse_run
from growdisk.block.raw import RawFile
from growdisk.durable import sync_directory
from growdisk.errors import ImageError, destination_exists

_NAME_BYTES = 240  # of 255 that a name may have


class NewFile:
    """A context manager: make the file at `temporary`, then `publish()` or `replace()` it.

    The latter replaces the file at its path. Without either it is removed on leaving.
    """

    def __init__(self, path: Path, *, replacing: bool = False) -> None:
        self.path, self._replacing = path, replacing
        self.is_device = path.is_block_device()
        self.beside: Path | None = None  # another new file that is of no use without it
        self.temporary = (
            path if self.is_device or not path.name else path.with_name(_temporary_name(path.name))
        )

    def __enter__(self) -> NewFile:
        refuse_run(self.path, None)
        if self.is_device:
            return self
        if not self._replacing and os.path.lexists(self.path):
            raise destination_exists(self.path)
        if os.path.lexists(self.temporary):
            # refused while another growdisk is at work on it
            RawFile.open(self.temporary, writable=True).close()
            self.temporary.unlink()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, ImageError) and error.path == self.temporary:
            error.path = self.path  # the name that its reader knows
        if self.beside is not None:
            self.beside.unlink(missing_ok=True)
        if not self.is_device:
            self.temporary.unlink(missing_ok=True)

    def open(self) -> RawFile:
        """The file to be, or the block device as it is, open for writing."""
        return (
            RawFile.open(self.path, writable=True)
            if self.is_device
            else RawFile.create(self.temporary)
        )

    def publish(self) -> None:
        """Give the finished file its name, durably."""
        _sync(self.temporary)
        if self.is_device:
            self.beside = None
            return
        try:
            os.link(self.temporary, self.path, follow_symlinks=False)
        except FileExistsError as error:
            raise destination_exists(self.path) from error
        self.beside = None
        self.temporary.unlink()
        sync_directory(self.path.absolute().parent)

    def replace(self) -> None:
        """Replace the other file by the finished one, durably, with its owner, mode, attributes."""
        status = self.path.stat()
        if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(self.temporary, status.st_uid, status.st_gid)
        self.temporary.chmod(status.st_mode & 0o7777)
        for name in os.listxattr(self.path):
            with suppress(OSError):  # some belong to the kernel
                os.setxattr(self.temporary, name, os.getxattr(self.path, name))
        # Durable before the rename: a crash must leave the old image or the new one.
        _sync(self.temporary)
        self.temporary.replace(self.path)
        sync_directory(self.path.absolute().parent)


def _temporary_name(name: str) -> str:
    """A name beside the final one, which may be as long as names can be."""
    return f".{os.fsdecode(os.fsencode(name)[:_NAME_BYTES])}.growdisk-new"


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
