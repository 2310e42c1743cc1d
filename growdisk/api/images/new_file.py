"""A file that appears whole or not at all, and never in the place of another.

It grows under a name of its own beside its place (`.NAME.growdisk-new`) and gets its real one by
link(), which fails where rename() would overwrite. What a killed process left under that name is
removed, unless somebody holds it. A qcow2 image's external data file appears with it.

A block device is the exception: it is there already, is written in place, and keeps what it got
until a failure.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from growdisk.api.guard import refuse_run
from growdisk.block.raw import RawFile
from growdisk.durable import publish, sync_directory, sync_file
from growdisk.errors import ImageError, ImageUnsupported, destination_exists

_NAME_BYTES = 240  # of 255 that a name may have


class NewFile:
    """A context manager: make the file at `temporary`, then `publish()` or `replace()` it.

    The latter replaces the file at its path. Without either it is removed on leaving. `data_file`:
    where the external data file of an image is to be; make it at `data_place`.
    """

    def __init__(
        self, path: Path, *, replacing: bool = False, data_file: Path | None = None
    ) -> None:
        self.path, self._replacing = path, replacing
        self.is_device = path.is_block_device()
        # Of no use without it, nor it without that.
        self._data_file = NewFile(data_file) if data_file is not None else None
        self.data_place = self._data_file.temporary if self._data_file is not None else None
        # The final name may be as long as names can be.
        hidden = f".{os.fsdecode(os.fsencode(path.name)[:_NAME_BYTES])}.growdisk-new"
        self.temporary: Path = path if self.is_device or not path.name else path.with_name(hidden)

    def __enter__(self) -> NewFile:
        # A run may be recorded under that name, though its image is gone.
        refuse_run(self.path, None)
        was_left = False  # by a process that was killed before it could publish it
        # lexists(): a link that leads nowhere has the name as well.
        if not self._replacing and not self.is_device and os.path.lexists(self.path):
            self.forget_second_name()
            raise destination_exists(self.path)
        if not self.is_device and os.path.lexists(self.temporary):
            # With a second name it is whole, and has been published.
            was_left = self.temporary.lstat().st_nlink == 1
            self.remove_left_over()
        if self._data_file is not None:
            self._enter_data_file(self._data_file, was_left=was_left)
        return self

    def _enter_data_file(self, data_file: NewFile, *, was_left: bool) -> None:
        if data_file.path.absolute() == self.path.absolute():
            hint = "choose another data_file; nothing was written"
            raise ImageUnsupported(self.path, "its external data file would be itself", hint)
        # Killed between the two names: the data file has its own, and its image never got one.
        if was_left and data_file.is_half_published:
            data_file.path.unlink()
        data_file.__enter__()

    def remove_left_over(self) -> None:
        """Remove what a killed process left of it; ImageInUse while one is at work on it."""
        if os.path.lexists(self.temporary) and not self.is_device:
            # Only to be refused by a lock: a process at work has one.
            RawFile.open(self.temporary, writable=True).close()
            self.temporary.unlink()

    def forget_second_name(self) -> None:
        """Remove the name that it grew under if a process was killed before that: it is whole."""
        if self.is_half_published and not self.is_device:
            self.temporary.unlink()
        if self._data_file is not None:
            self._data_file.forget_second_name()

    @property
    def is_half_published(self) -> bool:
        """Whether it has its name, and also still the one that it grew under."""
        return (
            os.path.lexists(self.path)
            and os.path.lexists(self.temporary)
            and os.path.samestat(self.path.lstat(), self.temporary.lstat())
        )

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        # Errors of the engine name the file that it was given.
        if isinstance(error, ImageError) and error.path == self.temporary:
            error.path = self.path  # the name that its reader knows
        # Not published: nothing of it stays. After publish() there is no such name any more.
        if not self.is_device:
            self.temporary.unlink(missing_ok=True)
        if self._data_file is not None:
            self._data_file.__exit__(kind, error, trace)

    def open(self, mode: int = 0o644) -> RawFile:
        """The file to be, or the block device as it is, open for writing."""
        if self.is_device:
            return RawFile.open(self.path, writable=True)
        return RawFile.create(self.temporary, mode=mode)

    def publish(self) -> None:
        """Give the finished file its name, durably."""
        sync_file(self.temporary)
        if self._data_file is None:
            self._link()
        else:
            # The data file first: without it nobody could open the image.
            sync_file(self._data_file.temporary)
            self._data_file._link()
            try:
                self._link()
            except BaseException:
                self._data_file.path.unlink()
                raise
            # As long as it has both names, it is known for one published without its image.
            self._data_file._forget_temporary()
        self._forget_temporary()

    def _link(self) -> None:
        if self.is_device:
            return
        try:
            publish(self.temporary, self.path)
        except FileExistsError as error:
            raise destination_exists(self.path) from error

    def _forget_temporary(self) -> None:
        if not self.is_device:
            with suppress(OSError):  # the file is there, durably
                self.temporary.unlink(missing_ok=True)  # it is gone where files have one name
                sync_directory(self.path.absolute().parent)

    def replace(self) -> None:
        """Replace the other file by the finished one, durably, with its owner, mode, attributes."""
        status = self.path.stat()
        # Before the mode: chown() takes setuid bits away.
        if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(self.temporary, status.st_uid, status.st_gid)
        self.temporary.chmod(status.st_mode & 0o7777)
        for name in os.listxattr(self.path):
            with suppress(OSError):  # some belong to the kernel
                os.setxattr(self.temporary, name, os.getxattr(self.path, name))
        # Durable before the rename: a crash must leave the old image or the new one.
        sync_file(self.temporary)
        self.temporary.replace(self.path)
        with suppress(OSError):  # either file will be there, and both show the same
            sync_directory(self.path.absolute().parent)
