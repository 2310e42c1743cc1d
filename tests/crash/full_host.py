"""A host whose file system is really full from the n-th change on: a file takes every block.

What is in place already can still be written, as on any full disk, and whatever needs a block
fails, for good.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from growdisk.errors import GrowdiskError, error_id
from tests.crash.dying import FAILED, TAKING_ROOM, before_change
from tests.guests.tools import run

MiB = 1 << 20
NAME = "somebody-else"


@contextmanager
def small_file_system(place: Path, kind: str, size: int) -> Iterator[Path]:
    """A new file system at `place`: "tmpfs", or one of mkfs on a loop device (root only)."""
    place.mkdir(exist_ok=True)
    if kind == "tmpfs":
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place]
    else:
        carrier = place.with_name(f"{place.name}.{kind}")
        with carrier.open("wb") as file:
            file.truncate(size)
        subprocess.run(
            [f"mkfs.{kind}", *_OPTIONS.get(kind, ()), carrier], check=True, capture_output=True
        )
        words = ["mount", "-o", "loop", carrier, place]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here: that needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


_OPTIONS = {"ext4": ("-q", "-F", "-m", "0"), "xfs": ("-q", "-f")}


def free_room(place: Path) -> int:
    """Bytes that are free, once what is written is written."""
    fd = os.open(place, os.O_RDONLY)
    try:
        os.sync()
    finally:
        os.close(fd)
    status = os.statvfs(place)
    return status.f_bfree * status.f_frsize


def fill(place: Path) -> None:
    """Leave not a block."""
    fd = os.open(place / NAME, os.O_RDWR | os.O_CREAT, 0o600)
    end, step = os.fstat(fd).st_size, 64 * MiB
    while step >= 4096:
        try:
            os.posix_fallocate(fd, end, step)
            end += step
        except OSError:
            step //= 2
    with suppress(OSError):
        for position in range(end, end + 64 * 4096, 4096):
            os.pwrite(fd, b"x" * 4096, position)
    os.fsync(fd)
    os.close(fd)


def make_room(place: Path) -> None:
    """Cut the file to nothing, then remove it: XFS frees at once only what is cut off."""
    with suppress(FileNotFoundError):
        os.truncate(place / NAME, 0)
    (place / NAME).unlink(missing_ok=True)


def run_until_full(
    action: Callable[[], int],
    change: int,
    become_full: Callable[[], None],
    names: Set[str] = TAKING_ROOM,
) -> tuple[int, bool]:
    """Run `action` in a child for which `become_full` happens before its change number `change`.

    Returns what the action returned, and whether it came so far.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        write = os.write  # changes are counted, and this is none
        code = FAILED
        try:
            before_change(change, lambda: (write(tell, b"!"), become_full()), names)
            code = action()
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    os.close(tell)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with os.fdopen(told, "rb") as pipe:
        was_full = bool(pipe.read())
    assert status != FAILED, "the child ended with a traceback"
    return status, was_full


# --- images on a small host ---------------------------------------------------------------------

ROOM, DATA = 24 * MiB, 10 * MiB
SLACK = 256 << 10
SHAPES = (
    "cluster_size=65536",
    "cluster_size=4096,refcount_bits=1",
    "extended_l2=on,cluster_size=131072",
    "compat=0.10",
)


def make(image: Path, options: str = SHAPES[0], size: int = 64 * MiB) -> Path:
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, image, str(size))
    run("qemu-io", "-c", f"write -q -P 1 0 {DATA}", image)
    return image


def quiet(_done: int, _total: int) -> None:
    pass


def failing(small: Path, action: Callable[[], object]) -> str:
    """The message; nothing is there afterwards that was not there before, and no room is gone."""
    names, free = sorted(path.name for path in small.iterdir()), free_room(small)
    with pytest.raises(GrowdiskError) as failure:
        action()
    assert error_id(failure.value) in {"write-failed", "not-created"}
    assert sorted(path.name for path in small.iterdir()) == names
    assert free_room(small) >= free - SLACK
    return f"{failure.value}"
