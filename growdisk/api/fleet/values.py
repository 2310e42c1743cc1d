"""What a list shows of each disk. Sizes in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from growdisk.fast_dataclass import dataclass

State = Literal["off", "running", "in use", "unknown"]
Source = Literal["superblock", "agent"]

LIVE = ("running", "in use")
"""A guest has it; or somebody has, who may be a guest that does not answer."""


@dataclass(frozen=True)
class FileSystemUse:
    """How full a file system is.

    `name`: sda1 or vg0/root at rest, the mount point if a guest was asked. `reserved` is what
    users may not fill, `overhead` what of `used` are its own tables, which df does not count.
    `source`: the superblock, which a running guest brings up to date when it likes; or the guest's
    agent.
    """

    name: str
    kind: str
    size: int
    used: int
    source: Source = "superblock"
    reserved: int = 0
    overhead: int = 0

    @property
    def fullness(self) -> float:
        """0 to 1, of what users may fill, as df has it."""
        room = self.size - self.overhead - self.reserved
        return min(max((self.used - self.overhead) / room, 0.0), 1.0) if room > 0 else 1.0


@dataclass(frozen=True)
class Stretch:
    """A part of the disk, to be drawn: a partition, or free space (`name` "")."""

    name: str
    start: int
    size: int
    kind: str
    used: int | None = None


@dataclass(frozen=True)
class Hindrance:
    """What stands against growth, in words, and the options that would solve it."""

    name: str
    kind: str
    why: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class DiskEntry:
    """One disk.

    `error` (as error_document) if it could not be read: then only its name is known.

    `root` is what a running guest has at /, at rest the file system that would grow. `idle`: room
    that no file system has, in any layer. `run`: running, unfinished or kept. `target`: the disk of
    a machine ("vda").
    """

    name: str
    path: str = ""
    domain: str = ""
    target: str = ""
    state: State = "unknown"
    format: str = ""
    virtual_size: int | None = None
    actual_size: int | None = None
    table: str | None = None
    file_systems: tuple[FileSystemUse, ...] = ()
    root: FileSystemUse | None = None
    idle: int = 0
    hinders: tuple[Hindrance, ...] = ()
    stretches: tuple[Stretch, ...] = ()
    run: str | None = None
    snapshots: tuple[str, ...] = ()
    backing: tuple[str, ...] = ()
    overlays: tuple[str, ...] = ()
    note: str = ""
    error: Mapping[str, object] | None = None

    @property
    def fullest(self) -> FileSystemUse | None:
        return max(self.file_systems, key=lambda one: one.fullness, default=None)

    @property
    def fullness(self) -> float:
        """Of the fullest file system, 0 to 1; below 0 if none is known."""
        return self.fullest.fullness if self.fullest else -1.0
