"""A host whose power is cut: its disk then, by what its kernel had written and flushed.

A device mapper target in the host's kernel (log-writes) records every write to its disk, and every
flush. A disk with a write cache may lose what came after the last flush: all of it, or any part,
down to single sectors. Spec: Linux Documentation/admin-guide/device-mapper/log-writes.rst,
drivers/md/dm-log-writes.c.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from growdisk.units import GiB
from tests.crash.recording import Flush, Write
from tests.crash.sparse import SparseBytes
from tests.crash.states import apply_survivors, torn_part
from tests.hosts.machine import HostMachine, host_machine

_MAGIC = 0x6A736677736872
_SUPER, _ENTRY = struct.Struct("<QQQI"), struct.Struct("<QQQQ")
_FLUSH, _FUA, _DISCARD, _MARK = 1, 2, 4, 8
_SECTOR = 512
_WATCH = """
dmsetup create watched --table "0 $(blockdev --getsz /dev/ubda) log-writes /dev/ubda /dev/ubdb"
echo 'devices { global_filter=["a|/dev/mapper/watched|","r|.*|"] }' >>/etc/lvm/lvm.conf
"""


@dataclass(frozen=True)
class Lasting(Write):
    """A write that is durable when it has ended (FUA)."""


@dataclass(frozen=True)
class Mark:
    """Where the host began what is cut short."""


Noted = Write | Flush | Mark


@contextmanager
def watched_host(disk: Path, log: Path, *others: Path) -> Iterator[HostMachine]:
    """A host whose writes to `disk` are recorded in the new file `log`; `others`: /dev/ubdc, ..."""
    with log.open("xb") as file:
        file.truncate(4 * GiB)
    with host_machine(disk, log, *others) as host:
        host.sh(_WATCH)
        yield host


def mark(host: HostMachine) -> None:
    host.sh("dmsetup message watched 0 mark begin")


def noted(log: Path) -> list[Noted]:
    """What the log says, in its order: before a flush stands all that it has made durable."""
    events: list[Noted] = []
    with log.open("rb") as file:
        magic, _, count, sector = _SUPER.unpack(file.read(_SUPER.size))
        assert magic == _MAGIC
        file.seek(sector)
        for _ in range(count):
            start, length, flags, extra = _ENTRY.unpack(file.read(_ENTRY.size))
            file.seek(sector - _ENTRY.size, 1)
            events += _events(
                file.read(length * sector) if not flags & _DISCARD else b"", start * sector, flags
            )
            assert not (extra and not flags & _MARK)
    return events


def _events(data: bytes, offset: int, flags: int) -> Iterator[Noted]:
    """A discard may leave what was there, which is the harder case."""
    if flags & _MARK:
        yield Mark()
    if flags & _FLUSH:
        yield Flush()
    if data:
        yield Lasting(offset, data) if flags & _FUA else Write(offset, data)


@dataclass(frozen=True)
class Cut:
    """A disk after a power cut, and how it came about."""

    content: SparseBytes
    note: str


def power_cut(start: SparseBytes, events: list[Noted], chance: random.Random) -> Cut:
    """A cut at a random point after the mark, between two flushes that are drawn first.

    So bulk does not count.
    """
    begin = events.index(Mark())
    flushes = [
        number for number, event in enumerate(events) if isinstance(event, Flush) and number > begin
    ]
    window = chance.randrange(len(flushes) + 1)
    first = flushes[window - 1] if window else begin
    last = flushes[window] if window < len(flushes) else len(events)
    cut = chance.randint(first, last)
    content = start.copy()
    for event in events[: first + 1]:
        if isinstance(event, Write):
            event.apply(content)
    lost = _survivors(
        content, [event for event in events[first + 1 : cut] if isinstance(event, Write)], chance
    )
    return Cut(
        content, f"before event {cut} of {len(events)} (window {window} of {len(flushes)}), {lost}"
    )


def lost_power(start: SparseBytes, events: list[Noted], chance: random.Random) -> SparseBytes:
    """What a disk holds whose power goes when all of `events` have been noted."""
    flushes = [number for number, event in enumerate(events) if isinstance(event, Flush)]
    durable = flushes[-1] + 1 if flushes else 0
    content = start.copy()
    for event in events[:durable]:
        if isinstance(event, Write):
            event.apply(content)
    _survivors(content, [event for event in events[durable:] if isinstance(event, Write)], chance)
    return content


def _survivors(content: SparseBytes, open_writes: list[Write], chance: random.Random) -> str:
    everything = list(enumerate(open_writes))
    kind = chance.choice(("all", "none", "some"))
    kept = {"all": everything, "none": [], "some": torn_part(everything, chance)}[kind]
    apply_survivors(content, list(open_writes), kept)
    for event in open_writes:
        if isinstance(event, Lasting):
            event.apply(content)
    return f"{kind} of {len(everything)} writes since the flush survived"
