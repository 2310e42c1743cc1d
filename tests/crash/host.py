"""Real verbs on real files, with every write, sync and rename recorded, for any crash.

    with recorded(directory) as tape:
        commit_overlay(...)                    # unchanged
    for state in tape.states(seed=1, count=50):
        state.save(other_directory)            # what a machine finds that died in the middle

A sync makes one file durable, and no other. Names change in their order, and surely with a sync of
the directory.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from growdisk import durable
from growdisk.api.images import new_file
from growdisk.block.raw import RawFile
from tests.crash.recording import Event, Flush, Resize, Write
from tests.crash.sparse import SparseBytes
from tests.crash.states import apply_survivors, torn_part


@dataclass(frozen=True)
class Named:
    """`name` was renamed, or linked (`link`), to `target`; without `target` it was removed."""

    name: str
    target: str | None
    link: bool = False


@dataclass(frozen=True)
class DirectorySync:
    pass


Entry = tuple[int, Event] | Named | DirectorySync  # (inode, what was done to it)


class HostState:
    """What was found after a crash: content by name."""

    def __init__(self, files: dict[str, SparseBytes], note: str) -> None:
        self.files, self.note = files, note

    def save(self, directory: Path) -> None:
        for old in directory.iterdir():
            old.unlink()
        for name, content in self.files.items():
            content.save(directory / name)


class Tape:
    """All that was done to the files of a directory.

    `starts`: what each inode held when it was first seen.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.names = {path.name: path.stat().st_ino for path in directory.iterdir()}
        self.starts = {path.stat().st_ino: SparseBytes.load(path) for path in directory.iterdir()}
        self.log: list[Entry] = []

    def states(self, seed: int, count: int) -> Iterator[HostState]:
        """Crashes between any two entries; the first and the last are always among them."""
        chance = random.Random(seed)
        cuts = sorted(
            {
                *chance.sample(range(len(self.log) + 1), min(count, len(self.log) + 1)),
                0,
                len(self.log),
            }
        )
        for cut in cuts:
            for kind in ("all", "none", "torn"):
                yield self._state(cut, kind, chance)

    def _state(self, cut: int, kind: str, chance: random.Random) -> HostState:
        """`kind`: what becomes of that which no sync had made durable."""
        log = self.log[:cut]
        contents = {inode: self._content(inode, log, kind, chance) for inode in self._inodes(log)}
        names = self._names(log, kind, chance)
        files = {name: contents[inode] for name, inode in names.items() if inode in contents}
        return HostState(
            files, f"cut before entry {cut} of {len(self.log)}, {kind} of what was not synced"
        )

    def _inodes(self, log: list[Entry]) -> set[int]:
        return set(self.starts) | {entry[0] for entry in log if isinstance(entry, tuple)}

    def _content(
        self, inode: int, log: list[Entry], kind: str, chance: random.Random
    ) -> SparseBytes:
        events = [entry[1] for entry in log if isinstance(entry, tuple) and entry[0] == inode]
        synced = max(
            (number + 1 for number, event in enumerate(events) if isinstance(event, Flush)),
            default=0,
        )
        content = self.starts.get(inode, SparseBytes()).copy()
        for event in events[:synced]:
            event.apply(content)
        window = [event for event in events[synced:] if not isinstance(event, Flush)]
        alive = list(enumerate(window)) if kind != "none" else []
        apply_survivors(content, window, torn_part(alive, chance) if kind == "torn" else alive)
        return content

    def _names(self, log: list[Entry], kind: str, chance: random.Random) -> dict[str, int]:
        changes = [entry for entry in log if isinstance(entry, (Named, DirectorySync))]
        synced = max(
            (n + 1 for n, change in enumerate(changes) if isinstance(change, DirectorySync)),
            default=0,
        )
        until = {"all": len(changes), "none": synced, "torn": chance.randint(synced, len(changes))}[
            kind
        ]
        names = dict(self.names)
        for change in changes[:until]:
            if isinstance(change, Named):
                inode = names[change.name]
                if not change.link:
                    del names[change.name]
                if change.target is not None:
                    names[change.target] = inode
        return names


@contextmanager
def recorded(directory: Path) -> Iterator[Tape]:
    """Record what RawFile and NewFile do to files in `directory`."""
    tape = Tape(directory)
    taped = _taped(tape)
    opened, created = RawFile.open.__func__, RawFile.create.__func__  # type: ignore[attr-defined]

    def create(
        cls: type[RawFile], path: Path, size: int = 0, *, lock: bool = True, mode: int = 0o644
    ) -> RawFile:
        file = created(taped, path, size, lock=lock, mode=mode)
        # its name is as unsure as its content: nobody looks there
        tape.names[path.name] = os.fstat(file._fd).st_ino
        tape.log.append((tape.names[path.name], Resize(size)))
        return file

    def link(source: Path, target: Path, *, follow_symlinks: bool) -> None:
        os_link(source, target, follow_symlinks=follow_symlinks)
        tape.log.append(Named(Path(source).name, Path(target).name, link=True))

    def replace(source: Path, target: Path) -> Path:
        result = path_replace(source, target)
        tape.log.append(Named(source.name, Path(target).name))
        return result

    def sync_directory(_directory: Path) -> None:
        tape.log.append(DirectorySync())

    def unlink(path: Path, missing_ok: bool = False) -> None:
        existed = path.exists()
        path_unlink(path, missing_ok)
        if existed and path.parent == directory:
            tape.log.append(Named(path.name, None))

    def sync_file(path: Path) -> None:
        tape.log.append((path.stat().st_ino, Flush()))

    os_link, path_replace, path_unlink = os.link, Path.replace, Path.unlink
    with (
        patch.object(
            RawFile, "open", classmethod(lambda cls, *words, **more: opened(taped, *words, **more))
        ),
        patch.object(RawFile, "create", classmethod(create)),
        patch.object(os, "link", link),
        patch.object(Path, "replace", replace),
        patch.object(Path, "unlink", unlink),
        patch.object(new_file, "sync_file", sync_file),
        # NewFile syncs a folder itself, and where it gives a name.
        patch.object(new_file, "sync_directory", sync_directory),
        patch.object(durable, "sync_directory", sync_directory),
    ):
        yield tape


def _taped(tape: Tape) -> type[RawFile]:
    class Taped(RawFile):
        """A RawFile whose changes are noted as well."""

        def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
            super().write(offset, data)
            self._note(Write(offset, bytes(data)))

        def write_zeros(self, offset: int, length: int) -> None:
            super().write_zeros(offset, length)
            self._note(Write(offset, bytes(length)))

        def discard(self, offset: int, length: int) -> None:
            self.write_zeros(offset, length)  # the worst that a host may do

        def copy_from(self, source: RawFile, offset: int, length: int, *, move: int = 0) -> None:
            self.write(offset + move, source.read(offset, length))

        def resize(self, size: int) -> None:
            super().resize(size)
            self._note(Resize(size))

        def allocate(self, offset: int, length: int) -> None:
            super().allocate(offset, length)
            self._note(Resize(self.size))

        def flush(self) -> None:
            super().flush()
            self._note(Flush())

        def _note(self, event: Event) -> None:
            tape.log.append((os.fstat(self._fd).st_ino, event))

    return Taped
