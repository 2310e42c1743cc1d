"""The first program of a kernel that runs as a program: does what uml.py asks of it.

It has nothing but Python itself. A request is a line with its number. What is asked is in
EXCHANGE/NUMBER.request (JSON: the name of an operation and its arguments), with data in NUMBER.in,
or after the number (base64) if it is short: a key must not get into any file. The answer goes
to NUMBER.out, an error into NUMBER.error, and the number back. Paths are the guest's: looked for
from SYSROOT, which no link of the guest leads out of.
"""

from __future__ import annotations

import binascii
import glob
import json
import os
import stat
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXCHANGE, SYSROOT = "/exchange", "/sysroot"
_CHANNEL = "/dev/ttyS0"
_GUEST_PLACES = ("/dev", "/proc", "/sys")
_CHUNK = 1 << 20


class Failed(Exception):
    pass


def main() -> None:
    channel = os.open(_CHANNEL, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(channel, termios.TCSANOW)
    # uml.py waits for this line; from here on the line carries requests and their numbers.
    os.write(channel, b"ready\n")
    for line in _lines(channel):
        number, _, short = line.partition(" ")
        base = f"{EXCHANGE}/{number}"
        try:
            with open(f"{base}.request") as file:
                operation, arguments = json.load(file)
            if short:
                arguments.append(short)
            OPERATIONS[operation](base, *arguments)
        except Exception as error:
            # Any error is an answer: an agent that ends takes its kernel with it.
            with open(f"{base}.error", "w", errors="surrogateescape") as file:
                file.write(str(error))
        os.write(channel, f"{number}\n".encode())


def _lines(channel: int) -> Iterator[str]:
    pending = b""
    while chunk := os.read(channel, 4096):
        *lines, pending = (pending + chunk).split(b"\n")
        yield from (line.decode() for line in lines)


# --- programs -------------------------------------------------------------------------------------


def _run(base: str, *words: str, root: str = "/") -> None:
    """Its output is the answer; Failed, with its complaint, if it fails."""
    complaints = f"{base}.complaints"
    child = os.fork()
    if child == 0:
        try:
            # Opened before the chroot: a guest's root does not have the exchange.
            for number, path, flags in (
                (0, "/dev/null", os.O_RDONLY),
                (1, f"{base}.out", os.O_WRONLY | os.O_CREAT),
                (2, complaints, os.O_WRONLY | os.O_CREAT),
            ):
                os.dup2(os.open(path, flags, 0o600), number)
            os.chroot(root)
            os.chdir("/")
            os.execvp(words[0], words)
        finally:
            # Only if something above failed. The child must not go on with our own code.
            os._exit(127)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        with open(complaints, errors="surrogateescape") as file:
            line = file.read().strip()
        raise Failed(line or f"{words[0]} ended with status {status} and gave no reason")


def shell(base: str, script: str) -> None:
    _run(base, "/bin/sh", "-c", script)


def shell_in_guest(base: str, script: str) -> None:
    bound = []
    try:
        for place in _GUEST_PLACES:
            _run(base, "mount", "--rbind", place, SYSROOT + place)
            bound.append(place)
        _run(base, "/bin/sh", "-c", script, root=SYSROOT)
    finally:
        # Lazily: what the script left running may still hold something there.
        for place in reversed(bound):
            _run(base, "umount", "--recursive", "--lazy", SYSROOT + place)


def mount(base: str, options: str, device: str, place: str) -> None:
    # Links in the path are the guest's: followed outside, /boot -> /etc would be our /etc.
    with _inside():
        real = os.path.realpath(place)
    _run(base, "mount", "-o", options, device, SYSROOT + real)


def unmount_all(base: str) -> None:
    with open("/proc/self/mounts") as file:
        mounted = [line.split(" ")[1] for line in file]
    if SYSROOT in mounted:
        _run(base, "umount", "--recursive", SYSROOT)


def sync(_base: str) -> None:
    """What could not be written is an error of the device, which fsync alone reports."""
    os.sync()
    for device in glob.glob("/dev/ubda*"):
        descriptor = os.open(device, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


# --- files ----------------------------------------------------------------------------------------


@contextmanager
def _inside() -> Iterator[None]:
    """SYSROOT is the root of all paths."""
    # In this process: one of its own would cost ten times as much. A descriptor from before leads
    # out again, which chroot does not change.
    outside = os.open("/", os.O_RDONLY)
    os.chroot(SYSROOT)
    os.chdir("/")
    try:
        yield
    finally:
        os.fchdir(outside)
        os.chroot(".")
        os.close(outside)


def _as_json(work: Callable[..., object]) -> Callable[..., None]:
    """An operation whose answer is JSON."""

    def operation(base: str, *arguments: object) -> None:
        with _inside():
            answer = json.dumps(work(*arguments))
        with open(f"{base}.out", "w") as file:
            file.write(answer)

    return operation


def read(base: str, path: str, count: int, offset: int) -> None:
    """`count` bytes, or all from `offset` on if it is negative."""
    with open(f"{base}.out", "wb") as out, _inside(), open(path, "rb") as file:
        _copy(file.fileno(), out.fileno(), count, offset)


def write(base: str, path: str, offset: int, short: str = "") -> None:
    """At `offset`; a negative one makes a new content of it."""
    flags = os.O_WRONLY | (os.O_CREAT | os.O_TRUNC if offset < 0 else 0)
    # In both cases a file to copy from: .in, which came with its content, or a new one in memory.
    with open(f"{base}.in" if not short else os.memfd_create("short"), "r+b") as data:
        data.write(binascii.a2b_base64(short))
        data.flush()
        with (
            _inside(),
            open(path, "wb", opener=lambda name, _: os.open(name, flags, 0o644)) as file,
        ):
            _copy(data.fileno(), file.fileno(), -1, 0, max(offset, 0))


def _copy(source: int, target: int, count: int, offset: int, to: int = 0) -> None:
    os.lseek(source, offset, os.SEEK_SET)
    os.lseek(target, to, os.SEEK_SET)
    while count and (chunk := os.read(source, min(_CHUNK, count) if count > 0 else _CHUNK)):
        count -= len(chunk) if count > 0 else 0
        # write() may take less than it was given.
        while chunk:
            chunk = chunk[os.write(target, chunk) :]


def _is_file(path: str, follow: bool) -> bool:
    try:
        return stat.S_ISREG(os.stat(path, follow_symlinks=follow).st_mode)
    except FileNotFoundError:
        return False


OPERATIONS: dict[str, Callable[..., None]] = {
    "shell": shell,
    "shell in guest": shell_in_guest,
    "mount": mount,
    "unmount all": unmount_all,
    "sync": sync,
    "read": read,
    "write": write,
    "exists": _as_json(os.path.exists),
    "is file": _as_json(_is_file),
    "glob": _as_json(glob.glob),
    "real path": _as_json(lambda path: os.path.realpath(path, strict=True)),
    "make folder": _as_json(lambda path: os.makedirs(path, exist_ok=True)),
    "chown": _as_json(lambda path, owner, group: os.chown(path, owner, group)),
    "chmod": _as_json(os.chmod),
    "remove": _as_json(os.unlink),
    "link": _as_json(os.symlink),
}


if __name__ == "__main__":
    main()
