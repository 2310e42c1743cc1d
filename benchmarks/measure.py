"""Runs a command to its end and tells what it took: wall time, and its own process's CPU time and peak memory."""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Sample:
    """Seconds of wall time; seconds of CPU and KiB of peak memory of the process itself, its children left out."""

    wall: float
    own_cpu: float
    own_peak_kib: int


def take(argv: Sequence[str | Path]) -> Sample:
    """Run `argv`, which must succeed."""
    words = [os.fspath(word) for word in argv]
    print(f"  $ {shlex.join(words)}", file=sys.stderr, flush=True)
    started = time.monotonic()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Sample(time.monotonic() - started, 0.0, 0)


def take_growdisk(arguments: Sequence[str]) -> Sample:
    """Run a growdisk command in a Python of its own, which reports what it took itself."""
    words = [sys.executable, "-m", "benchmarks.measure", *arguments]
    print(f"  $ growdisk {shlex.join(arguments)}", file=sys.stderr, flush=True)
    started = time.monotonic()
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    wall = time.monotonic() - started
    cpu, peak = done.stdout.split()[-2:]
    return Sample(wall, float(cpu), int(peak))


def middle(samples: Sequence[Sample]) -> Sample:
    return Sample(
        median(s.wall for s in samples),
        median(s.own_cpu for s in samples),
        int(median(s.own_peak_kib for s in samples)),
    )


def main() -> int:
    """The child of take_growdisk."""
    from growdisk.cli.main import main as growdisk

    code = growdisk(sys.argv[1:])
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
    return code


if __name__ == "__main__":
    sys.exit(main())
