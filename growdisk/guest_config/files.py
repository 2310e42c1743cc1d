"""A guest's files as its repair sees them, and what it says of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from growdisk.fast_dataclass import dataclass


class GuestFiles(Protocol):
    """A guest's files by their paths in the guest.

    Writing keeps a file's inode, owner, mode and attributes.
    """

    def read(self, path: str) -> bytes: ...
    def read_start(self, path: str, length: int) -> bytes:
        """At most the first `length` bytes."""
        ...

    def write(self, path: str, content: bytes) -> None: ...
    def prepend(self, path: str, block: bytes) -> None:
        """Put `block` before the file's content."""
        ...

    def exists(self, path: str) -> bool: ...
    def glob(self, pattern: str) -> list[str]:
        """Regular files that match, without symbolic links.

        A pattern without wildcards matches itself.
        """
        ...


@dataclass(frozen=True)
class Change:
    """A change; `mended` False: the file still names the partition, and `what` says what to do.

    `waits`: the next boot would wait for it, or might.
    """

    path: str
    what: str
    mended: bool = True
    waits: bool = False


def found(files: GuestFiles, patterns: Sequence[str]) -> list[str]:
    """The files that match any of `patterns`, each once."""
    return list(dict.fromkeys(path for pattern in patterns for path in files.glob(pattern)))
