"""A file in memory that records every write, resize and flush, for crashes at any point.

Use with anything that works on a ResizableDevice (image engine, redo of an overlay, partition
tables):

    file = RecordingFile.load(path)          # or RecordingFile(SparseBytes(size))
    operation(file)                          # the code under test, unchanged
    for state in crash_states(file, seed=1): # tests/crash/states.py
        reopened = state.open()              # a fresh RecordingFile with what the machine found after the crash
        ...                                  # judge it: by the code itself, or state.content.save(path) for other tools

Writing may be repeated on a reopened file: crashes within a recovery are tested the same way.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from growdisk.block.device import Extent, ExtentKind, check_range
from tests.crash.sparse import PAGE, SparseBytes


@dataclass(frozen=True)
class Write:
    offset: int
    data: bytes

    def apply(self, content: SparseBytes) -> None:
        content.write(self.offset, self.data)


@dataclass(frozen=True)
class Resize:
    size: int

    def apply(self, content: SparseBytes) -> None:
        content.resize(self.size)


@dataclass(frozen=True)
class Flush:
    def apply(self, content: SparseBytes) -> None:
        pass


Event = Write | Resize | Flush


class RecordingFile:
    """Implements ResizableDevice. `start` is the content before the first event of `log`."""

    def __init__(self, content: SparseBytes) -> None:
        self.start = content.copy()
        self.content = content
        self.log: list[Event] = []
        self.closed = False

    @classmethod
    def load(cls, path: Path) -> RecordingFile:
        return cls(SparseBytes.load(path))

    @property
    def size(self) -> int:
        return self.content.size

    @property
    def writable(self) -> bool:
        return True

    def read(self, offset: int, length: int) -> bytes:
        check_range(self.size, offset, length)
        return self.content.read(offset, length)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        check_range(self.size, offset, len(data))
        self._do(Write(offset, bytes(data)))

    def write_zeros(self, offset: int, length: int) -> None:
        check_range(self.size, offset, length)
        self._do(Write(offset, bytes(length)))

    def discard(self, offset: int, length: int) -> None:
        """The worst that a host may do: the range is zeros at once."""
        self.write_zeros(offset, length)

    def flush(self) -> None:
        self._do(Flush())

    def resize(self, size: int) -> None:
        self._do(Resize(size))

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        check_range(self.size, offset, length)
        while length:
            step = min(length, PAGE - offset % PAGE)
            kind = ExtentKind.DATA if offset // PAGE in self.content.pages else ExtentKind.ZERO
            yield Extent(offset, offset + step, kind)
            offset, length = offset + step, length - step

    def close(self) -> None:
        self.closed = True

    def _do(self, event: Event) -> None:
        event.apply(self.content)
        self.log.append(event)
