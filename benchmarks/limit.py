"""What one expand must write: its writes and syncs, by strace, repeated by a bare program.

That is as fast as this machine's device lets anybody be who keeps the same order of writes and
syncs. The floor under it is the same bytes in one go, with one sync at the end.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.guests import forget, fresh_copy
from benchmarks.measure import GROWDISK, Sample, figure, say, seconds, times

# pwrite64(7</a/guest.qcow2>, ""..., 65536, 131072) = 65536; or, with another thread's call in
# between, <unfinished ...>
_CALL = re.compile(
    r'\b(?:pwrite64|write|fdatasync|fsync)\(\d+<(?P<path>[^>]*)>(?:, ""\.{0,3}, '
    r"(?P<length>\d+)(?:, (?P<at>\d+))?)?"
)


def measure(base: Path, guest: Path, repeats: int) -> dict[str, Any]:
    fresh_copy(base, guest)
    calls = _record(guest)
    forget(guest)
    writes = [length for length, _ in calls if length]
    kept, floor = [], []
    for _ in range(repeats):
        fresh_copy(base, guest)
        kept.append(Sample(_again(guest, calls)))
        fresh_copy(base, guest)
        floor.append(Sample(_again(guest, [(sum(writes), 0), (0, 0)])))
    forget(guest)
    return {
        "bytes": sum(writes),
        "writes": len(writes),
        "syncs": len(calls) - len(writes),
        "kept": figure(kept),
        "floor": figure(floor),
    }


def rows(result: Mapping[str, Any], ours: float) -> Iterator[str]:
    kept, floor = result["kept"], result["floor"]
    yield (
        f"Physical limit: a run writes {result['bytes'] / (1 << 20):.1f} MiB into image and "
        "journal, by "
        f"{result['writes']} writes with {result['syncs']} syncs between them. The same writes "
        "and syncs alone take "
        f"{seconds(kept)}, the same bytes with one sync {seconds(floor)}; "
        f"the run takes {times(ours / kept['wall'])} as long as the former."
    )


def _record(guest: Path) -> list[tuple[int, int]]:
    """(length, offset) of each write to the image or journal, (0, 0) of each sync, in order."""
    with tempfile.NamedTemporaryFile(prefix="growdisk-strace-", mode="r") as log:
        traced = "trace=pwrite64,write,fdatasync,fsync"
        argv = ["strace", "-f", "-y", "-s0", "-e", traced, "-e", "signal=none", "-o", log.name]
        say("strace growdisk expand")
        subprocess.run(
            [*argv, GROWDISK, "expand", guest, "+10G", "--backend", "direct"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        calls = [
            call
            for line in log
            if (call := _CALL.search(line)) and call["path"].startswith(str(guest))
        ]
    return [(int(call["length"] or 0), int(call["at"] or 0)) for call in calls]


def _again(image: Path, calls: list[tuple[int, int]]) -> float:
    data = b"\x5a" * max(length for length, _ in calls)
    fd = os.open(image, os.O_RDWR)
    started = time.monotonic()
    for length, offset in calls:
        if length:
            os.pwrite(fd, memoryview(data)[:length], offset)
        else:
            os.fdatasync(fd)
    took = time.monotonic() - started
    os.close(fd)
    return took
