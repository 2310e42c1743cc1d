"""A guest's files for those who change them: reached by path, kept byte for byte as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from growdisk.fast_dataclass import dataclass


class GuestFiles(Protocol):
    """A guest's files by their paths in the guest.

    Writing keeps a file's inode, owner, mode and attributes.
    """

    def read(self, path: str) -> bytes: ...
    def read_start(self, path: str, length: int) -> bytes:
        """At most the first `length` bytes."""

    def write(self, path: str, content: bytes) -> None: ...
    def prepend(self, path: str, block: bytes) -> None:
        """Put `block` before the file's content."""

    def exists(self, path: str) -> bool: ...
    def glob(self, pattern: str) -> list[str]:
        """Regular files that match, without symbolic links.

        A pattern without wildcards matches itself.
        """


@dataclass(frozen=True)
class Change:
    """A change; `mended` False: the file still names the partition, and `what` says what to do.

    `waits`: the next boot would wait for it, or might.
    """

    path: str
    what: str
    mended: bool = True
    waits: bool = False


def unmended(path: str, what: str, *, waits: bool = True) -> Change:
    return Change(path, what, mended=False, waits=waits)


class Pending:
    """A guest's files with what is to be written to them; nothing is."""

    def __init__(self, files: GuestFiles) -> None:
        self._files, self.exists, self.glob = files, files.exists, files.glob
        self.contents: dict[str, bytes] = {}
        self.prefixes: dict[str, bytes] = {}

    def read(self, path: str) -> bytes:
        # A prefix stays one as long as nobody writes the whole file: prepending shifts a large
        # initrd without copying it.
        content = self.contents.get(path)
        return self.prefixes.get(path, b"") + (
            self._files.read(path) if content is None else content
        )

    def read_start(self, path: str, length: int) -> bytes:
        if path in self.contents:
            return self.read(path)[:length]
        return (self.prefixes.get(path, b"") + self._files.read_start(path, length))[:length]

    def write(self, path: str, content: bytes) -> None:
        self.contents[path] = content
        self.prefixes.pop(path, None)

    def prepend(self, path: str, block: bytes) -> None:
        self.prefixes[path] = block + self.prefixes.get(path, b"")

    def forget(self, path: str) -> None:
        for written in (self.contents, self.prefixes):
            written.pop(path, None)

    @property
    def paths(self) -> list[str]:
        return list(dict.fromkeys((*self.contents, *self.prefixes)))

    def write_to(self, files: GuestFiles) -> None:
        for path, content in self.contents.items():
            files.write(path, self.prefixes.get(path, b"") + content)
        for path, block in self.prefixes.items():
            if path not in self.contents:
                files.prepend(path, block)


LARGEST_SETTINGS = 1 << 20
"""Bytes; larger files are no settings."""


def settings(files: GuestFiles, patterns: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The files that match any of `patterns`, each once with its content; no large ones."""
    for path in found(files, patterns):
        content = files.read_start(path, LARGEST_SETTINGS + 1)
        if len(content) <= LARGEST_SETTINGS:
            yield path, content


def found(files: GuestFiles, patterns: Sequence[str]) -> list[str]:
    """The files that match any of `patterns`, each once."""
    return list(dict.fromkeys(path for pattern in patterns for path in files.glob(pattern)))


_COMMENTS = (b"#", b";", b"//")
_STARTS = (b"/dev/", b"dev-")  # of most needles: a file without them need not be searched for each
# Also kernel modules and those of GRUB: most of the bytes below /boot and in an initrd.
PROGRAM = b"\x7fELF"
# What EFI's own shell and editor write: startup.nsh.
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def decode(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def text_of(files: GuestFiles, path: str) -> str:
    """The text of a file; "" if there is none."""
    return decode(files.read(path)) if files.exists(path) else ""


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def change_lines(text: str, change: Callable[[str], str]) -> str:
    """Every line, without its newline, through `change`. A missing last newline stays missing."""
    return "\n".join(change(line) for line in text.split("\n"))


def is_said(content: bytes, needles: Sequence[bytes]) -> bool:
    """Whether one of `needles` is in it outside of comments. /dev/sda5 is not in /dev/sda55.

    Programs say nothing.
    """
    if content.startswith(PROGRAM):
        return False
    if content.startswith(UTF_16):
        content = content.decode("utf-16", "replace").encode()
    absent = tuple(start for start in _STARTS if start not in content)
    present = [needle for needle in needles if not needle.startswith(absent) and needle in content]
    return any(_is_in(content, needle) for needle in present)


def _is_in(content: bytes, needle: bytes) -> bool:
    # Not by lines: a file of a million empty ones would take a second for each needle.
    at, line_end = content.find(needle), 0
    while at >= 0:
        end = at + len(needle)
        if at >= line_end:
            start, line_end = content.rfind(b"\n", 0, at) + 1, content.find(b"\n", end)
            line_end = len(content) if line_end < 0 else line_end
            if content[start:end].lstrip().startswith(_COMMENTS):
                at = content.find(needle, line_end)
                continue
        # With a digit after it, it is the name of another partition.
        if not content[end : end + 1].isdigit():
            return True
        at = content.find(needle, end)
    return False


# --- SELinux: the label that a new file needs; selinux(8), selinux_config(5) ---------------------

_SELINUX_CONFIG = "/etc/selinux/config"
# As libselinux reads it: the first line with a mode that it knows, whatever comes after the mode.
_MODE = r"(?mi)^SELINUX=\s*(enforcing|permissive|disabled)"
_SWAP_FILE = "system_u:object_r:swapfile_t:s0"


def selinux_is_on(files: GuestFiles) -> bool:
    """Going by the guest's own configuration; without a mode it is permissive."""
    config = text_of(files, _SELINUX_CONFIG)
    mode = re.search(_MODE, config)
    return bool(config) and (mode is None or mode[1].lower() != "disabled")


def swap_file_label(files: GuestFiles) -> str:
    """The label of a swap file; "" if SELinux is off.

    mkswap sets it if SELinux runs, as in no appliance. A guest that enforces its policy does not
    swap on a file without it.
    """
    return _SWAP_FILE if selinux_is_on(files) else ""
