"""A guest's locked file (chattr +i, a read-only subvolume) is repaired, and stays locked."""

from __future__ import annotations

import shlex
from typing import cast

import pytest

from growdisk.backends.guest_editor import MountedGuest
from growdisk.backends.guest_handle import Handle, Shell
from growdisk.errors import ToolFailed

FSTAB, OLD, NEW = "/etc/fstab", b"old\n", b"new\n"


class Locked:
    """An appliance with one file, its letters of chattr, and its subvolume.

    A kernel writes to nothing locked.
    """

    def __init__(self, flags: str, *, read_only: bool = False) -> None:
        self.flags, self.content, self.read_only = set(flags), OLD, read_only

    def realpath(self, path: str) -> str:
        return path

    def write(self, path: str, content: bytes) -> None:
        if self.read_only or self.flags & {"i", "a"}:
            raise RuntimeError("Operation not permitted")
        self.content = content

    def debug(self, subcmd: str, extraargs: list[str]) -> str:
        _, program, *words = shlex.split(extraargs[0].partition(" 2>&1")[0])
        told = ""
        if program == "btrfs" and words[3] != "/sysroot":
            return "ERROR: not a subvolume\ngrowdisk-status=1\n"
        if program == "btrfs" and words[1] == "set":
            self.read_only = words[-1] == "true"
            return "growdisk-status=0\n"
        if program == "btrfs":
            return f"ro={'true' if self.read_only else 'false'}\ngrowdisk-status=0\n"
        assert program != "chattr" or not self.read_only
        if program == "lsattr":
            told = (
                "".join(letter if letter in self.flags else "-" for letter in "s-uSDi-ae------")
                + f" {words[-1]}\n"
            )
            told = (
                told
                if self.flags
                else f"lsattr: Operation not supported While reading flags on {words[-1]}\n"
            )
        elif program == "chattr":
            assert words[1] == "/sysroot/etc/fstab"
            self.flags = (
                self.flags - set(words[0]) if words[0][0] == "-" else self.flags | set(words[0][1:])
            )
        return f"{told}growdisk-status=0\n"


def guest(handle: Locked) -> MountedGuest:
    return MountedGuest(Shell(cast("Handle", handle), "/dev/sdb"))


@pytest.mark.parametrize("flags", ["e", "ei", "ea", "aei"])
def test_a_locked_file_gets_its_new_content_and_keeps_its_locks(flags: str) -> None:
    handle = Locked(flags)
    guest(handle).write(FSTAB, NEW)
    assert (handle.content, handle.flags) == (NEW, set(flags))


@pytest.mark.parametrize("flags", ["e", "ei"])
def test_a_file_in_a_read_only_subvolume_gets_its_new_content_there(flags: str) -> None:
    handle = Locked(flags, read_only=True)
    guest(handle).write(FSTAB, NEW)
    assert (handle.content, handle.flags, handle.read_only) == (NEW, set(flags), True)


@pytest.mark.parametrize("flags", ["e", ""])
def test_a_file_that_cannot_be_written_for_another_reason_is_not_written(flags: str) -> None:
    handle = Locked(flags)
    handle.write = lambda path, content: Locked("i").write(path, content)  # type: ignore[method-assign]
    with pytest.raises(ToolFailed, match="write /etc/fstab failed: Operation not permitted"):
        guest(handle).write(FSTAB, NEW)
    assert handle.flags == set(flags)
