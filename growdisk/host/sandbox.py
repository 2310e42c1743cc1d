"""Runs a host tool on a file that a guest has made, so that nothing but that file can suffer.

A hostile file system may take over the tool that reads it. Then it finds: no network, no other
process, no file of this machine but a read-only /usr, no privilege to gain, and limits on time and
memory; it ends when growdisk ends.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from pathlib import Path

from growdisk.errors import ToolFailed, ToolTimedOut
from growdisk.host import clock
from growdisk.host.command import CompletedCommand, run

TOOLS = ("bwrap", "prlimit")
DISK = "/disk"  # the file, as the tool sees it
FOLDER = "/disks"  # or the folder of them
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64")
_MEMORY = 4 << 30
_ROOM = 64 << 20  # besides its memory, a kernel keeps a socket there
_SECONDS = 3600  # of the clock
_WORK = 300  # seconds of the processor
# bwrap ends with 128 and the signal's number. Both limits of --cpu are the same: which of the two
# signals comes first is the kernel's business.
_OUT_OF_WORK = (128 + signal.SIGXCPU, 128 + signal.SIGKILL)
_turns = count(os.getpid())
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin"}


def run_confined(
    argv: Sequence[str],
    place: Path,
    *,
    name: str = DISK,
    writable: bool = False,
    accept: Collection[int] | None = (0,),
    seconds: float = _SECONDS,
    work: int = _WORK,
    input: str | Callable[[], str] | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> CompletedCommand:
    """Run `argv`, which names the file `place` as DISK, or the folder `place` as FOLDER (`name`).

    Raises what command.run() raises, in the tool's own name. `seconds` are those of the clock,
    `work` of the processor: a busy machine does not make a tool look like one caught in a loop.
    `meanwhile` is called while the tool works.
    """
    walls = [*_system(), "--dev", "/dev"]
    if name == DISK:
        # Without an mtab, resize2fs does not know whether the disk is mounted, and refuses. The
        # folder that contains the FUSE folder is ours alone, and goes with it.
        mtab = place.parent.parent / "mtab"
        mtab.touch()
        walls += ["--ro-bind", str(mtab), "/etc/mtab"]
    walls += ["--bind" if writable else "--ro-bind", str(place), name]
    # /dev and / are file systems in memory: read-only, so that nobody fills it.
    walls += ["--remount-ro", "/dev", *_closed(clock.fixed_time_variables())]
    words = ["bwrap", *walls, "--", *_limits({"as": _MEMORY, "cpu": work, "nofile": 64}), *argv]
    try:
        return run(
            words,
            timeout=seconds,
            accept=accept,
            name=argv[0],
            input=input,
            begun=(lambda _: meanwhile()) if meanwhile else None,
        )
    except ToolFailed as error:
        if error.status not in _OUT_OF_WORK:
            raise
        raise ToolTimedOut(
            argv[0], work, "it worked without an end: is the file system made to do that?"
        ) from error


def confined_kernel(
    argv: Sequence[str],
    disks: Mapping[str, Path],
    exchange: Path,
    modules: Path,
    *,
    memory: int,
    syscall_filter: int | None = None,
) -> list[str]:
    """The command that runs a kernel as a program, confined, on `disks` by the names it knows.

    It may also write to the folder `exchange`, and keeps its `memory`, in bytes, in a file that
    nobody sees. Each of its processes may take minutes of the processor (_WORK). All of them share
    one: the kernel has but one itself, and waking each other on another one takes four times as
    long. `syscall_filter` is an open file with a seccomp program.
    """
    walls = [*_system(), "--proc", "/proc", "--dev", "/dev"]
    # The kernel keeps its memory as a file there.
    walls += ["--size", str(memory + _ROOM), "--tmpfs", "/tmp"]
    for place in ("/run", "/sys", "/etc", "/sysroot", "/uml/lib"):
        walls += ["--dir", place]
    walls += ["--ro-bind", str(modules), "/uml/lib/modules", "--bind", str(exchange), "/exchange"]
    for name, disk in disks.items():
        walls += ["--bind", str(disk), name]
    walls += _closed({"HOME": "/tmp", "TMPDIR": "/tmp"})
    if syscall_filter is not None:
        walls += ["--seccomp", str(syscall_filter)]
    limits = [*_limits({"cpu": _WORK}), "taskset", "-c", str(_some_cpu())]
    return ["bwrap", *walls, "--", *limits, *argv]


def _limits(wanted: Mapping[str, int]) -> list[str]:
    """Inside the walls: prlimit becomes the tool, so that the limits are the tool's alone."""
    words = ["prlimit"]
    for name, most in {**wanted, "core": 0}.items():
        # The host may have set a lower one (ulimit), which nobody may raise again.
        hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
        words.append(f"--{name}={most if hard < 0 else min(most, hard)}")
    return [*words, "--"]


def _some_cpu() -> int:
    """One of those that there are, another one each time."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[next(_turns) % len(allowed)]


def _system() -> list[str]:
    # --new-session: on our terminal a tool could type commands for us (TIOCSTI, CVE-2017-5226).
    words = ["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    words += ["--ro-bind", "/usr", "/usr"]
    for name in _MERGED:
        # With a merged /usr these are links into it; elsewhere they are folders of their own.
        if Path(f"/{name}").is_symlink():
            words += ["--symlink", f"usr/{name}", f"/{name}"]
        elif Path(f"/{name}").is_dir():
            words += ["--ro-bind", f"/{name}", f"/{name}"]
    return words


def _closed(variables: Mapping[str, str]) -> list[str]:
    # bwrap goes by the order of its words: all places are made before / is closed.
    words = ["--remount-ro", "/", "--chdir", "/", "--clearenv"]
    for name, value in {**_ENVIRONMENT, **variables}.items():
        words += ["--setenv", name, value]
    return words
