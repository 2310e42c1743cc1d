"""Reading a small file that somebody names: a key, a password, a file for a guest.

Bounded in size and in time. It may well be a pipe, as of `--key-file <(pass show disk)`: that is
waited for, but not for ever. And what somebody names to be written to: a shell makes `--html
*.qcow2` name a disk.
"""

from __future__ import annotations

import os
import select
import stat
from pathlib import Path

from growdisk.errors import UsageError
from growdisk.units import Bytes

MAX_KEY = 8 << 20  # what cryptsetup takes of a key file
_WRITER_SECONDS = 3.0  # until somebody opens the other end of a pipe
# until it is written to again, or closed: its writer may have a person to ask
_DATA_SECONDS = 120.0
_CHUNK = 1 << 16
# A sector: a boot sector, a qcow2 header and the start of most file systems have zero bytes in it.
_START = 512


def given_path(text: str | Path) -> Path:
    """A name as somebody wrote it, with `~` filled in."""
    # Path.expanduser raises where there is no such user, or no home: such a name stays as it is,
    # and is then a file that is not there.
    return Path(os.path.expanduser(text))  # noqa: PTH111


def read_given(path: Path, hint: str, limit: int = MAX_KEY) -> bytes:
    """All bytes of a file or a pipe.

    UsageError if it cannot be read, or has more than `limit` bytes. `hint`: what to check then,
    for the message.
    """
    try:
        # O_NONBLOCK: open() does not wait for a pipe's writer, which may never come. O_NOCTTY: a
        # terminal named here does not become ours.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise unreadable(path, hint, getattr(error, "strerror", "") or str(error)) from error
    try:
        return _read(fd, path, hint, limit)
    except OSError as error:
        raise unreadable(path, hint, error.strerror or str(error)) from error
    finally:
        os.close(fd)


def unwritable(path: Path, option: str, error: OSError) -> UsageError:
    """What `option` names cannot be written, as is known before anything is done."""
    reason = error.strerror or str(error)
    hint = f"name a file with {option} in a folder that is there and can be written"
    return UsageError(f"cannot write {path}", hint, reason)


def refuse_to_replace(path: Path, option: str) -> None:
    """UsageError if `option` would write over a device, or a file that is not text.

    Also if there is no such folder.
    """
    try:
        path.parent.stat()
    except OSError as error:
        raise unwritable(path, option, error) from error
    try:
        if not path.is_block_device():
            # A pipe, a terminal, or nothing there yet: writing replaces nothing.
            if not path.is_file():
                return
            with path.open("rb") as file:
                if b"\0" not in file.read(_START):
                    return
    except OSError:
        return  # writing to it will say why
    problem = f"{option} {path} would write over something that is not text, and may be a disk"
    raise UsageError(problem, hint="name another file; this one is as it was")


def _read(fd: int, path: Path, hint: str, limit: int) -> bytes:
    waits, data = not stat.S_ISREG(os.fstat(fd).st_mode), bytearray()
    seconds = _WRITER_SECONDS if waits and _has_no_writer(fd, data) else _DATA_SECONDS
    # One more than `limit` is enough to know that it is too much: /dev/zero has no end.
    while len(data) <= limit:
        if waits and not _is_ready(fd, seconds):
            raise unreadable(
                path, hint, "it is a pipe that nobody writes to, or does not end writing to"
            )
        piece = os.read(fd, _CHUNK)
        if not piece:
            return bytes(data)
        data += piece
        seconds = _DATA_SECONDS
    raise UsageError.named(
        "file-too-large",
        "{path} has more than {limit}",
        "",
        "{hint}",
        {"path": path, "limit": Bytes(limit), "hint": hint},
    )


def _has_no_writer(fd: int, data: bytearray) -> bool:
    """Whether a pipe is at its end already; what can be read of it goes to `data`."""
    # read(2) gives nothing for "no writer has opened it", and EAGAIN for "its writer has not
    # written yet": only the first may be a pipe that nobody will ever write to.
    try:
        data += (piece := os.read(fd, _CHUNK))
    except BlockingIOError:
        return False
    return not piece


def _is_ready(fd: int, seconds: float) -> bool:
    """Whether there are bytes, or the end, within this time."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(1000 * seconds))


def unreadable(path: Path, hint: str, reason: str) -> UsageError:
    return UsageError.because("file-not-readable", "cannot read {path}", reason, hint, path=path)
