"""The last two actions on an output: an overlay written anew in the order of the disk, and the name that it gets.

A qcow2 file's clusters lie in the order in which they were first written to. Two runs that write the same may do so in
another order; written anew, both are the same bytes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from growdisk.api.images.creating import create_qcow2
from growdisk.api.images.fetching import CHUNK
from growdisk.api.provisioning.failures import OutputExists
from growdisk.durable import sync_directory
from growdisk.errors import ImageInUse
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.entries import L2Kind
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.probe import ImageFormat
from growdisk.units import split_range
from growdisk.workflow.run_directory import RunDirectory


def rewrite_overlay(path: Path, new: Path, luks: bytes = b"", keys: tuple[bytes, ...] = ()) -> None:
    """Make `new`, in the same folder, show what the overlay `path` shows, on top of the same base, and as encrypted."""
    with Qcow2Image.open(path, key=keys) as overlay:
        backing_format: ImageFormat = "qcow2" if overlay.header.backing_format == "qcow2" else "raw"
        create_qcow2(new, overlay.size, CreateOptions(), overlay.header.backing_file, backing_format, luks=luks)
        with Qcow2Image.open(new, writable=True, key=keys) as image:
            for run in overlay.runs(0, overlay.size):
                if run.kind is L2Kind.UNALLOCATED:
                    continue
                if run.kind in (L2Kind.ZERO_PLAIN, L2Kind.ZERO_ALLOCATED):
                    image.write_zeros(run.start, run.end - run.start)
                    continue
                for start, end in split_range(run.start, run.end, CHUNK):
                    image.write(start, overlay.read(start, end - start))
            image.flush()


class HiddenFile:
    """A small file beside `path` that gets its name when all is done. As a context manager: else nothing is left."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hidden = path.with_name(f".{path.name}.growdisk-new")

    def __enter__(self) -> HiddenFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._hidden.unlink(missing_ok=True)

    def write(self, content: bytes) -> None:
        self._hidden.write_bytes(content)

    def put_in_place(self, *, force: bool) -> None:
        put_in_place(self._hidden, self.path, force=force)


@contextmanager
def exclusive_output(path: Path) -> Iterator[None]:
    """Nobody else makes an output at `path` meanwhile: both would use the same hidden names. ImageInUse."""
    lock = path.with_name(f".{path.name}.growdisk-lock")
    while True:
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if lock.exists() and os.path.samestat(os.fstat(fd), lock.stat()):  # else its former owner has removed it
                break
        except BlockingIOError as error:
            os.close(fd)
            raise ImageInUse(path, holder="another growdisk, which is making it,") from error
        os.close(fd)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(fd)


def put_in_place(hidden: Path, path: Path, *, force: bool) -> None:
    """Give the finished image its name, durably: from one instant to the next it is there, or instead of another."""
    _sync(hidden)
    if force:
        os.replace(hidden, path)  # noqa: PTH105  beside os.link, its sister
        RunDirectory(path).forget()
    else:
        try:
            os.link(hidden, path, follow_symlinks=False)
        except FileExistsError as error:
            raise OutputExists(path) from error
        hidden.unlink()
    sync_directory(path.absolute().parent)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
