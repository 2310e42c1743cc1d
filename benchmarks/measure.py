"""Runs a command to its end: wall time, and its process's CPU time and peak memory."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

GROWDISK = str(Path(sys.executable).with_name("growdisk"))


@dataclass(frozen=True)
class Sample:
    """Seconds of wall time; CPU seconds and peak KiB of the process (qemu-img's: all of it)."""

    wall: float
    own_cpu: float = 0.0
    own_peak_kib: int = 0


S = TypeVar("S", bound=Sample)


@dataclass(frozen=True)
class Growdisk(Sample):
    """With what growdisk says of the run: its answer's document."""

    answer: Mapping[str, Any] = field(default_factory=dict)


def take(argv: Sequence[str | Path], stdin: str = "") -> Sample:
    """Run `argv`, which must succeed, for its time alone."""
    words = [os.fspath(word) for word in argv]
    say(shlex.join(words))
    started = time.monotonic()
    done = subprocess.run(
        words, input=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    wall = time.monotonic() - started
    if done.returncode:
        raise SystemExit(f"{shlex.join(words)}: exit code {done.returncode}\n{done.stderr}")
    return Sample(wall)


_SPAWN = """
import json, os, sys, time
quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
started = time.monotonic()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(child, 0)
wall = time.monotonic() - started
cpu = usage.ru_utime + usage.ru_stime
print(json.dumps([os.waitstatus_to_exitcode(status), wall, cpu, usage.ru_maxrss]))
"""


def take_small(argv: Sequence[str], accept: Sequence[int] = (0,)) -> Sample:
    """Run a command without children, from a process of a few MiB.

    The memory of the process that starts a command counts as the command's.
    """
    words = [sys.executable, "-I", "-S", "-c", _SPAWN, *argv]
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    status, wall, cpu, peak_kib = json.loads(done.stdout)
    if status not in accept:
        raise SystemExit(f"{shlex.join(argv)}: exit code {status}")
    return Sample(wall, cpu, peak_kib)


def take_growdisk(arguments: Sequence[str | Path]) -> Growdisk:
    """Run the growdisk command with --json.

    Its own figures are looked up while it runs: wait4 counts children too.
    """
    words = [GROWDISK, "--json", *(str(word) for word in arguments)]
    say(shlex.join(["growdisk", *words[1:]]))
    cpu, peak = 0.0, 0
    with tempfile.TemporaryFile() as answer:
        started = time.monotonic()
        with subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=answer, stderr=subprocess.DEVNULL
        ) as process:
            while process.poll() is None:
                with suppress(OSError, IndexError):
                    peak, cpu = _peak_kib(process.pid), _processor_seconds(process.pid)
                time.sleep(0.01)
        wall = time.monotonic() - started
        answer.seek(0)
        text = answer.read().decode()
    if process.returncode:
        raise SystemExit(f"{shlex.join(words)}: exit code {process.returncode}\n{text}")
    return Growdisk(wall, cpu, peak, json.loads(text))


def _peak_kib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0])


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def say(text: str) -> None:
    print(f"  $ {text}", file=sys.stderr, flush=True)


def middle(samples: Sequence[Sample]) -> Sample:
    return Sample(
        median(s.wall for s in samples),
        median(s.own_cpu for s in samples),
        int(median(s.own_peak_kib for s in samples)),
    )


def figure(samples: Sequence[Sample]) -> dict[str, Any]:
    """The median, the spread of the wall time, and all samples."""
    walls = [sample.wall for sample in samples]
    kept = [{"wall": s.wall, "own_cpu": s.own_cpu, "own_peak_kib": s.own_peak_kib} for s in samples]
    return {
        "count": len(walls),
        **asdict(middle(samples)),
        "low": min(walls),
        "high": max(walls),
        "samples": kept,
    }


def in_turn(
    contenders: Mapping[str, Callable[[], S]], repeats: Mapping[str, int]
) -> dict[str, list[S]]:
    """Run each contender `repeats[name]` times, in turn: other load then meets all of them."""
    taken: dict[str, list[S]] = {name: [] for name in contenders}
    for number in range(max(repeats.values(), default=0)):
        for name, contender in contenders.items():
            if number < repeats[name]:
                taken[name].append(contender())
    return taken


def seconds(fig: Mapping[str, Any]) -> str:
    """`1.23 s (1.20–1.31)`."""
    digits = 1 if fig["wall"] >= 10 else 2 if fig["wall"] >= 0.1 else 4
    spread = (
        f" ({fig['low']:.{digits}f}–{fig['high']:.{digits}f})" if fig["count"] > 1 else " (once)"
    )
    return f"{fig['wall']:.{digits}f} s{spread}"


def times(value: float) -> str:
    """`62 ×`, `4.7 ×`, `0.31 ×`."""
    return f"{value:.0f} ×" if value >= 10 else f"{value:.1f} ×" if value >= 1 else f"{value:.2f} ×"
