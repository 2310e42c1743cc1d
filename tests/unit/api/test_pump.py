"""Ranges fetched into buffers that are used again: what comes, in which order, and how it ends."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from growdisk.api.images.data_copy import is_zero, nonzero_runs
from growdisk.api.images.pump import CHUNK, pump
from growdisk.block.device import InParts, Part
from growdisk.block.raw import RawFile

MiB = 1 << 20


class Slow(InParts):
    """A device whose parts are filled in threads, each by its own number; one of them may fail."""

    size, writable = 64 * MiB, False

    def __init__(self, broken: int = -1, *, alone: bool = False) -> None:
        self._broken, self._alone = broken, alone
        # parts that are being filled by those that one thread at a time may fill
        self._now = self.most = 0

    def parts(self, offset: int, length: int) -> Iterator[Part]:
        for start in range(offset, offset + length, MiB // 2):
            yield Part(
                start,
                start + MiB // 2,
                partial(self._fill, start),
                is_slow=not self._alone and start % MiB == 0,
            )

    def _fill(self, start: int, buffer: memoryview) -> None:
        if start == self._broken:
            raise OSError("broken")
        if self._alone:
            self._now += 1
            self.most = max(self.most, self._now)
            time.sleep(0)  # lets another thread go on
            self._now -= 1
        buffer[:] = bytes([1 + start * 2 // MiB]) * len(buffer)


def device(slow: Slow) -> RawFile:
    return slow  # type: ignore[return-value]  # all that is asked of it is there


def fetched(
    *devices: RawFile | None, ranges: list[tuple[int, int]]
) -> list[tuple[int, list[bytes]]]:
    found: list[tuple[int, list[bytes]]] = []

    def use(piece: tuple[int, list[bytearray]]) -> int:
        found.append((piece[0], [bytes(data) for data in piece[1]]))
        return piece[0]

    pump(devices, ranges, lambda start, *data: (start, list(data)), use)
    return found


def test_pieces_come_in_order_whatever_thread_filled_them() -> None:
    found = [
        (start, data[0], data[-1], len(data))
        for start, (data,) in fetched(device(Slow()), ranges=[(0, 64 * MiB)])
    ]
    assert found == [(i * MiB, 1 + 2 * i, 2 + 2 * i, MiB) for i in range(64)]
    assert MiB == CHUNK


def test_a_failure_in_a_thread_is_told_in_its_turn_and_the_threads_end() -> None:
    before, got = threading.active_count(), []

    def use(start: int) -> int:
        got.append(start)
        return start

    with pytest.raises(OSError, match="broken"):
        pump([device(Slow(broken=19 * MiB))], [(0, 64 * MiB)], lambda start, _: start, use)
    assert got == [i * MiB for i in range(19)]
    assert threading.active_count() == before


def test_what_any_thread_cannot_fetch_is_fetched_by_one_at_a_time() -> None:
    at_once = Slow(alone=True)
    assert len(fetched(device(at_once), ranges=[(0, 64 * MiB)])) == 64
    assert at_once.most == 1


def test_ranges_of_any_length_come_as_they_are_and_zeros_behind_the_end(tmp_path: Path) -> None:
    chance, path = random.Random(2), tmp_path / "disk.raw"
    content = chance.randbytes(3 * MiB + 777)
    path.write_bytes(content)
    content += bytes(5 * MiB)
    cuts = sorted(chance.sample(range(len(content)), 40))
    ranges = list(zip(cuts[0::2], cuts[1::2], strict=True))
    file = RawFile.open(path)
    try:
        for source, expected in ((file, content), (None, bytes(len(content)))):
            covered = list[tuple[int, int]]()
            for start, (data,) in fetched(source, ranges=ranges):
                assert data == expected[start : start + len(data)]
                before = covered.pop()[0] if covered and covered[-1][1] == start else start
                covered.append((before, start + len(data)))
            assert covered == ranges
        both = fetched(file, None, ranges=[(0, 512), (4 * MiB, 4 * MiB + 512)])
        assert both == [(0, [content[:512], bytes(512)]), (4 * MiB, [bytes(512), bytes(512)])]
    finally:
        file.close()


@pytest.mark.parametrize("granule", [512, 4096, 65536])
def test_runs_that_are_not_zeros_are_found_by_every_byte(granule: int) -> None:
    """A granule whose first word is zero need not be zeros; the last may be cut, at any byte."""
    chance = random.Random(granule)
    for _ in range(50):
        data = bytearray(chance.randrange(1, 8 * granule))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = 1
        expected = [any(data[start : start + granule]) for start in range(0, len(data), granule)]
        found = [False] * len(expected)
        for start, end in nonzero_runs(data, granule):
            assert end % granule == 0 or end == len(data)
            found[start // granule : -(-end // granule)] = [True] * (
                -(-end // granule) - start // granule
            )
        assert found == expected
        assert is_zero(data) == (not any(data))
