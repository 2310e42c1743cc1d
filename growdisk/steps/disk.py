"""The disk of one run: an image file, open and locked for as long as the run lasts.

Steps, the NBD export and the readers all see this one device; a snapshot store may put another
image in its place (an overlay) while nobody is inside. The lock makes every single access whole; it
is not a lock on a run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from threading import RLock
from typing import Literal

from growdisk.block.device import BlockDevice, Extent, ResizableDevice
from growdisk.block.raw import RawFile
from growdisk.errors import ImageNotReadable
from growdisk.qcow2.header import read_header
from growdisk.qcow2.image import Qcow2Image, opened_as_backing
from growdisk.qcow2.metadata import DataFile
from growdisk.qcow2.open_checks import Passphrase

Format = Literal["qcow2", "raw"]


class Disk:
    """Implements ResizableDevice on the image that is active now.

    `file` holds the locks; closing it ends the run. `extra_disks` are further disks of the guest
    that take part in the run.
    """

    def __init__(
        self,
        path: Path,
        image_format: Format,
        file: RawFile,
        backing: BlockDevice | None,
        key: Passphrase = (),
    ) -> None:
        self.path, self.format, self.file = path, image_format, file
        self.extra_disks: tuple[Disk, ...] = ()
        self.lock = RLock()
        # For those who keep what they have read, or what a tool has said of it: see writes().
        self._writes = 0
        self._backing = backing
        # Set by the overlay store, whose top overlay must have the new size as well.
        self.on_base_resized: Callable[[], None] = lambda: None
        self.unlocked: DataFile | None = None
        # Read-only until a run begins: opening an image to write may repair it.
        self._active = self.base(writable=False, key=key)
        if isinstance(self._active, Qcow2Image):
            self.unlocked = self._active.unlocked

    @classmethod
    def open(
        cls,
        path: Path,
        image_format: Format,
        extra_disks: Sequence[tuple[Path, Format]] = (),
        *,
        not_in_use: bool = False,
        key: Passphrase = (),
    ) -> Disk:
        """Open and lock the image as its one writer; nothing is written yet.

        ImageInUse and other refusals. `not_in_use`: the user's word for those who cannot be seen.
        `key`: the passphrases of encrypted images.
        """
        with ExitStack() as stack:
            open_file = RawFile.open_disk if image_format == "raw" else RawFile.open
            # Locked before its header is read: another writer could change what it says.
            file = stack.enter_context(
                closing(open_file(path, writable=True, not_in_use=not_in_use))
            )
            backing = None
            if image_format == "qcow2":
                backing = opened_as_backing(path, read_header(file, path), key)
            if backing is not None:
                stack.enter_context(closing(backing))
            disk = cls(path, image_format, file, backing, key)
            disk.extra_disks = tuple(
                stack.enter_context(closing(cls.open(*other, not_in_use=not_in_use, key=key)))
                for other in extra_disks
            )
            # All is open: from here on close() of the Disk closes it, not this stack.
            stack.pop_all()
        return disk

    def refuse_in_use(self) -> None:
        """ImageInUse if anybody has begun to use one of the run's disks.

        ImageNotReadable if its name leads to another file by now, or to none.
        """
        for disk in (self, *self.extra_disks):
            disk.file.refuse_in_use()
            if disk.file.is_block_device:
                from growdisk.storage.rbd import refuse_other_clients

                refuse_other_clients(disk.path)
            elif not disk._is_named():
                reason = "it was replaced, renamed or removed while growdisk worked on it"
                raise ImageNotReadable(disk.path, reason, hint="look at what is there now")

    def _is_named(self) -> bool:
        with suppress(FileNotFoundError):
            return os.path.samestat(self.path.stat(), self.file.status)
        return False

    @property
    def is_locked(self) -> bool:
        """Whether its guest data are encrypted, and no key has opened them."""
        return isinstance(self._active, Qcow2Image) and self._active.is_locked

    def base_resized(self) -> None:
        """Reopen all that lies on the device in its new size: the host has resized it."""
        self.file.refresh_size()
        self.on_base_resized()
        with self.lock:
            self._writes += 1

    def base(self, *, writable: bool, key: Passphrase = ()) -> ResizableDevice:
        """The image itself, without overlays. It shares our file: it is flushed, never closed."""
        if self.format == "raw":
            return self.file
        return Qcow2Image.over(
            self.file,
            self.path,
            writable=writable,
            backing=self._backing,
            key=key,
            data=self.unlocked,
        )

    @property
    def luks_header(self) -> bytes:
        """With it, another image has the same key; b"" if the image is not encrypted."""
        if self.format == "raw":
            return b""
        header = read_header(self.file, self.path)
        if not header.crypt_method:
            return b""
        from growdisk.qcow2.encryption import luks_header

        return luks_header(self.file, header, self.path)

    def unlocked_over(self, file: ResizableDevice) -> DataFile | None:
        """The guest data of another image with the same encryption header.

        None if there is no key, or no need.
        """
        if self.unlocked is None:
            return None
        from growdisk.qcow2.encryption import EncryptedData

        assert isinstance(self.unlocked, EncryptedData), "the legacy form is never written"
        return self.unlocked.over(file)

    @property
    def active(self) -> ResizableDevice:
        return self._active

    def activate(self, device: ResizableDevice) -> None:
        """From now on everything goes to `device`. The former one belongs to the caller."""
        with self.lock:
            self._active = device
            self._writes += 1

    def writes(self) -> int:
        """How often something was written, or may have changed in another way."""
        with self.lock:
            return self._writes

    @property
    def size(self) -> int:
        return self._active.size

    @property
    def writable(self) -> bool:
        return self._active.writable

    def read(self, offset: int, length: int) -> bytes:
        with self.lock:
            return self._active.read(offset, length)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        with self.lock:
            self._active.write(offset, data)
            self._writes += 1

    def write_zeros(self, offset: int, length: int) -> None:
        with self.lock:
            self._active.write_zeros(offset, length)
            self._writes += 1

    def discard(self, offset: int, length: int) -> None:
        with self.lock:
            self._active.discard(offset, length)
            self._writes += 1

    def flush(self) -> None:
        with self.lock:
            self._active.flush()

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        with self.lock:
            # A list: of a generator only the beginning would run under the lock.
            return iter(list(self._active.extents(offset, length)))

    def resize(self, size: int) -> None:
        with self.lock:
            self._active.resize(size)
            self._writes += 1

    def close(self) -> None:
        """Let go of the image as it is.

        Everything that matters was flushed by those who wrote it.
        """
        with self.lock:
            self.file.close()
            if self._backing is not None:
                self._backing.close()
        for extra in self.extra_disks:
            extra.close()
