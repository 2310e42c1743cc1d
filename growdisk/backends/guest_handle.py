"""The part of libguestfs's handle that growdisk uses, with types, and its errors turned into ours.

python3-guestfs has no annotations, and every failure is a bare RuntimeError with the tool's text in
it.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Collection, Iterator
from typing import Protocol

from growdisk.errors import ToolFailed
from growdisk.host.command import COMMAND_LOG, last_lines

DISK = "/dev/sda"
_DEVICE = rf"{DISK}(\d*)"
_STATUS_MARK = "growdisk-status="
_STATUS = rf"(?s)(?P<output>.*){_STATUS_MARK}(?P<status>\d+)\s*\Z"


class Handle(Protocol):
    """guestfs.GuestFS, as far as it is used once it runs. Every method raises RuntimeError."""

    def close(self) -> None: ...
    def debug(self, subcmd: str, extraargs: list[str]) -> str: ...
    def mount_options(self, options: str, mountable: str, mountpoint: str) -> None: ...
    def umount_all(self) -> None: ...
    def sync(self) -> None: ...
    def write(self, path: str, content: bytes) -> None: ...
    def pread(self, path: str, count: int, offset: int) -> bytes: ...
    def pwrite(self, path: str, content: bytes, offset: int) -> int: ...
    def exists(self, path: str) -> bool: ...
    def is_file(self, path: str, *, followsymlinks: bool) -> bool: ...
    def glob_expand(self, pattern: str, *, directoryslash: bool) -> list[str]: ...
    def realpath(self, path: str) -> str: ...
    def upload(self, filename: str, remotefilename: str) -> None: ...
    def mkdir_p(self, path: str) -> None: ...
    def chown(self, owner: int, group: int, path: str) -> None: ...
    def chmod(self, mode: int, path: str) -> None: ...
    def rm(self, path: str) -> None: ...
    def ln_s(self, target: str, linkname: str) -> None: ...
    def sh(self, command: str) -> str: ...
    def lvs(self) -> list[str]: ...


@contextlib.contextmanager
def guest_call(action: str) -> Iterator[None]:
    """Turn libguestfs's RuntimeError into ToolFailed; `action` is what was tried."""
    try:
        yield
    except RuntimeError as error:
        raise ToolFailed(action, 1, last_lines(str(error))) from error


class Shell:
    """Runs programs inside the appliance (not the guest), whose disk may not be /dev/sda.

    The appliance's own root is a second disk, and kernels name disks in the order in which they
    answer. libguestfs translates the device names of its own calls; those of programs are
    translated here.
    """

    def __init__(self, handle: Handle, disk: str) -> None:
        self.handle, self.disk = handle, disk

    def run(self, *words: str, accept: Collection[int] = (0,)) -> tuple[int, str]:
        """The exit status, and what the program printed on both streams.

        /dev/sda and its partitions are the disk's, there too.
        """
        command = shlex.join(self._translated(word) for word in words)
        COMMAND_LOG.debug("# in the appliance: %s", command)
        with guest_call(words[0]):
            # "debug sh" runs a command in the appliance, but hides its status if that is not 0. So
            # the command always succeeds, and the true status stands in the last line.
            answer = self.handle.debug(
                "sh", [f"LC_ALL=C {command} 2>&1 </dev/null; echo {_STATUS_MARK}$?"]
            )
        match = re.match(_STATUS, answer)
        if match is None:
            raise ToolFailed(words[0], -1, f"unreadable answer {answer!r}")
        # Callers know the disk as /dev/sda, in what they read as well.
        status, output = int(match["status"]), match["output"].replace(self.disk, DISK)
        if status not in accept:
            raise ToolFailed(words[0], status, last_lines(output) or "it gave no reason")
        return status, output

    def size_of(self, device: str) -> int:
        """Bytes of a block device."""
        return int(self.run("blockdev", "--getsize64", device)[1])

    def is_device(self, path: str) -> bool:
        return self.run("test", "-b", path, accept=(0, 1))[0] == 0

    def _translated(self, word: str) -> str:
        # Whole words only: a path or an option that happens to contain the name stays.
        match = re.fullmatch(_DEVICE, word)
        return self.disk + match[1] if match else word
