"""Every kind of file that a dying machine may leave behind, made from a recording.

Between two flushes the host may write back what it likes: all that was written so far (a killed
program), nothing, any part of it, and of every write any part of its 512-byte sectors. Only within
one sector the order holds: the page cache has one copy of it, so that a later write to it never
reaches the disk without the earlier ones.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.crash.recording import Event, Flush, RecordingFile, Write
from tests.crash.sparse import SparseBytes

SECTOR = 512


@dataclass(frozen=True)
class CrashState:
    """What was found after the crash.

    `completed`: all events were durable, the operation had ended.
    """

    content: SparseBytes
    note: str
    completed: bool = False

    def open(self) -> RecordingFile:
        """The file as a machine finds it that comes up again."""
        return RecordingFile(self.content.copy())


def crash_states(
    recording: RecordingFile, seed: int, *, per_window: int = 40
) -> Iterator[CrashState]:
    """The states of all windows between flushes, about four times `per_window` at most of each.

    Per window: the cut after every write, every write alone, all but one, and random parts of torn
    writes.
    """
    chance = random.Random(seed)
    durable, position = recording.start.copy(), 0
    yield CrashState(durable.copy(), "before the first write", completed=not recording.log)
    for window in _windows(recording.log):
        last = position + len(window) == len(recording.log)
        for label, survivors in _survivors(window, chance, per_window):
            content = durable.copy()
            apply_survivors(content, window, survivors)
            yield CrashState(content, f"events {position}..{position + len(window) - 1}: {label}")
        for event in window:
            event.apply(durable)
        position += len(window)
        yield CrashState(durable.copy(), f"all up to event {position - 1}", completed=last)


def durable_content(recording: RecordingFile, events: int) -> SparseBytes:
    """What is certainly on the disk after `events` events: all up to the last flush among them."""
    log = recording.log[:events]
    while log and not isinstance(log[-1], Flush):
        log.pop()
    content = recording.start.copy()
    for event in log:
        event.apply(content)
    return content


def _windows(log: Sequence[Event]) -> Iterator[list[Event]]:
    """The log cut behind each flush."""
    window: list[Event] = []
    for event in log:
        window.append(event)
        if isinstance(event, Flush):
            yield window
            window = []
    if window:
        yield window


# The number of an event in its window, and what of it reached the disk.
Survivor = tuple[int, Event]


def _survivors(
    window: list[Event], chance: random.Random, limit: int
) -> Iterator[tuple[str, list[Survivor]]]:
    """(description, what reached the disk) for one window."""
    events = [
        (number, event) for number, event in enumerate(window) if not isinstance(event, Flush)
    ]
    if not events:
        return
    for cut in _some(range(1, len(events)), chance, limit):
        yield f"cut after {cut}", events[:cut]
    for index in _some(range(len(events)), chance, limit):
        if len(events) > 1:
            yield f"only {index}", [events[index]]
            yield f"all but {index}", events[:index] + events[index + 1 :]
    for number in range(min(limit, 4 * len(events))):
        alive = events[: chance.randint(1, len(events))]
        yield f"torn, draw {number}", torn_part(alive, chance)


def _some(numbers: range, chance: random.Random, limit: int) -> list[int]:
    return sorted(chance.sample(numbers, limit)) if len(numbers) > limit else list(numbers)


def torn_part(events: list[Survivor], chance: random.Random) -> list[Survivor]:
    """A random part of the events; those that stay may be torn."""
    keep, tear = chance.choice((0.2, 0.5, 0.8, 1.0)), chance.choice((0.0, 0.3, 1.0))
    survivors: list[Survivor] = []
    for number, event in events:
        if chance.random() > keep:
            continue
        if isinstance(event, Write) and chance.random() < tear:
            survivors += [(number, piece) for piece in _some_sectors(event, chance)]
        else:
            survivors.append((number, event))
    return survivors


def _some_sectors(write: Write, chance: random.Random) -> list[Write]:
    """Some of a write's sectors: a beginning, an end, or any of them."""
    pieces = list(_sectors(write))
    cut = chance.randint(0, len(pieces))
    return chance.choice(
        (pieces[:cut], pieces[cut:], [piece for piece in pieces if chance.random() < 0.5])
    )


def apply_survivors(content: SparseBytes, window: list[Event], survivors: list[Survivor]) -> None:
    """Apply the survivors, and before each, earlier writes to sectors that it fills in part."""
    for number, survivor in survivors:
        shared = _partial_sectors(survivor) if isinstance(survivor, Write) else ()
        for earlier in window[:number] if shared else ():
            if isinstance(earlier, Write):
                for piece in _sectors(earlier):
                    if piece.offset // SECTOR in shared:
                        piece.apply(content)
        survivor.apply(content)


def _partial_sectors(write: Write) -> set[int]:
    """The numbers of the sectors that a write fills only in part."""
    ends = (write.offset, write.offset + len(write.data))
    return {end // SECTOR for end in ends if end % SECTOR}


def _sectors(write: Write) -> Iterator[Write]:
    position, end = write.offset, write.offset + len(write.data)
    while position < end:
        stop = min(position // SECTOR * SECTOR + SECTOR, end)
        yield Write(position, write.data[position - write.offset : stop - write.offset])
        position = stop
