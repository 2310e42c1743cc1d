"""What a command loads, and what it costs."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from tests.unit.cli.command import GROWDISK, environment

HEAVY = (
    "msgspec", "rich", "parted", "_ped", "guestfs", "jinja2", "asyncio", "yaml", "socket",
    "logging",
)  # fmt: skip


LOADED = (
    "import sys; from growdisk.cli.main import main; code = main(sys.argv[1:]); "
    "print(*sys.modules, file=sys.stderr)"
)


WITHOUT_LIBVIRT = (
    "import growdisk.live.local_guests as sockets; sockets.listening = lambda uri=None: iter(()); "
)


def loaded_by(*words: str | Path, before: str = "") -> set[str]:
    """The modules that a command loads; `before` is Python that runs first.

    It is WITHOUT_LIBVIRT for a command that would ask a libvirt that another test runs.
    """
    done = subprocess.run(
        [sys.executable, "-c", before + LOADED, *words],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    return set(done.stderr.split())


def cpu_seconds(*words: str | Path) -> float:
    """The least of a few runs: user time, compiled code ready."""
    env = environment()
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run([GROWDISK, *words], check=True, env=env, stdout=subprocess.DEVNULL)
        times.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)
    return min(times)
