"""What a hostile file system meets that has taken over its tool; file systems that lie."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import IO

import pytest

from growdisk.backends import available
from growdisk.block.raw import RawFile
from growdisk.errors import ToolFailed, ToolTimedOut
from growdisk.host.command import kill_all
from growdisk.host.fuse_mount import mounted
from growdisk.host.sandbox import confined_kernel, run_confined
from growdisk.units import ByteRange, MiB
from tests.e2e.process import need
from tests.guests.swap import make_swap
from tests.guests.tools import run
from tests.unit.cli.command import in_process

PLACE, SWAP = ByteRange(MiB, 33 * MiB), ByteRange(33 * MiB, 40 * MiB)
# of the 32 MiB, the beginning: superblock, descriptors, bitmaps, inodes, first directories
_METADATA = 1 * MiB
_LONGEST = 60.0  # seconds; each takes half of one


@pytest.fixture(autouse=True, scope="module")
def works_here() -> None:
    need("direct")


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Path]:
    """A file of 1 MiB through FUSE, as a tool gets it."""
    device = RawFile.create(tmp_path / "disk.raw", MiB)
    with mounted({"disk": device}) as (place, _):
        yield place / "disk"
    device.close()


def test_what_is_just_being_mounted_is_not_unmounted_by_another_growdisk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock

    def another_comes_first(file: IO[str], operation: int) -> None:
        if not operation & fcntl.LOCK_NB:  # those are others' folders
            monkeypatch.setattr(fcntl, "flock", lock)
            with (
                closing(RawFile.create(tmp_path / "other.raw", MiB)) as other,
                mounted({"disk": other}),
            ):
                pass
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", another_comes_first)
    with (
        closing(RawFile.create(tmp_path / "disk.raw", MiB)) as device,
        mounted({"disk": device}) as (place, _),
    ):
        assert (place / "disk").stat().st_size == MiB
        assert (place.parent / "alive").exists()


@pytest.mark.parametrize(
    "attempt",
    [
        "cat /etc/passwd",
        "cat /etc/shadow",
        "ls /home",
        "ls /root",
        "ls /proc/self",
        "ls /sys",
        "ls /run",
        "touch /usr/trace",
        "touch /trace",
        "echo x > /dev/trace",
        "ls /tmp",
        "unshare -r true && mount -t tmpfs x /usr",
        "timeout 5 bash -c 'echo x > /dev/tcp/127.0.0.1/22'",
        "test -n \"$HOME$USER$XDG_RUNTIME_DIR\"",
        "kill -0 -1",
        "setpriv --reuid=0 --clear-groups cat /etc/shadow",
        "head -c 5G /dev/zero | tail -c 5G | head -c 1",
        "ulimit -c unlimited",
    ],
)  # fmt: skip
def test_a_tool_gets_at_nothing_but_its_file(shown: Path, attempt: str) -> None:
    with pytest.raises(ToolFailed):
        run_confined(
            ["bash", "-e", "-o", "pipefail", "-c", attempt], shown, writable=True, seconds=60
        )


def test_a_tool_writes_to_its_file_only_where_it_may(shown: Path) -> None:
    run_confined(
        ["sh", "-c", "echo here > /disk.new || echo here 1<> /disk"],
        shown,
        writable=True,
        seconds=60,
    )
    assert shown.read_bytes()[:5] == b"here\n"
    with pytest.raises(ToolFailed):
        run_confined(["sh", "-c", "echo gone 1<> /disk"], shown, writable=False, seconds=60)
    with pytest.raises(ToolFailed):  # its size stays as well
        run_confined(["truncate", "-s", "2M", "/disk"], shown, writable=True, seconds=60)
    assert shown.stat().st_size == MiB


@pytest.mark.parametrize(
    "attempt",
    [
        "cat /etc/passwd",
        "ls /home",
        "ls /root",
        "touch /usr/trace",
        "touch /trace",
        "touch /uml/lib/modules/trace",
        "unshare -r true && mount -t tmpfs x /usr",
        "timeout 5 bash -c 'echo x > /dev/tcp/127.0.0.1/22'",
        "test -n \"$USER$XDG_RUNTIME_DIR\"",
        "kill -0 -1",
        "setpriv --reuid=0 --clear-groups cat /etc/shadow",
        "head -c 3G /dev/zero > /tmp/much",
        "ulimit -c unlimited",
    ],
)  # fmt: skip
def test_a_kernel_that_runs_as_a_program_gets_at_its_disk_and_its_letter_box(
    shown: Path, tmp_path: Path, attempt: str
) -> None:
    box = tmp_path / "box"
    box.mkdir()
    script = f"echo here 1<> /disk; echo here > /exchange/letter; {attempt}"
    words = ["bash", "-e", "-o", "pipefail", "-c", script]
    argv = confined_kernel(words, {"/disk": shown}, box, Path("/usr/lib"), memory=MiB)
    assert subprocess.run(argv, capture_output=True, timeout=60).returncode
    assert shown.read_bytes()[:5] == (box / "letter").read_bytes() == b"here\n"


def test_a_kernel_that_runs_as_a_program_has_one_processor_and_the_next_one_another(
    shown: Path, tmp_path: Path
) -> None:
    look = ["grep", "Cpus_allowed_list", "/proc/self/status"]
    seen = set()
    for number in os.sched_getaffinity(0):
        box = tmp_path / str(number)
        box.mkdir()
        argv = confined_kernel(look, {"/disk": shown}, box, Path("/usr/lib"), memory=MiB)
        seen.add(int(run(*argv).split()[1]))
    assert seen == os.sched_getaffinity(0)


def test_a_tool_that_hangs_is_ended_with_all_that_it_started(shown: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ToolTimedOut):
        run_confined(["sh", "-c", "sleep 1234 & sleep 1234"], shown, writable=True, seconds=1)
    assert time.monotonic() - started < 30
    assert not [line for line in _commands() if b"sleep\x001234" in line]


def test_a_tool_that_is_killed_while_its_walls_are_built_leaves_nobody_behind(shown: Path) -> None:
    """bwrap's child first waits for its parent, and does not die with it: one in ten hung."""
    chance = random.Random(0)
    for _ in range(60):
        tool = threading.Thread(target=_run_long, args=(shown,))
        tool.start()
        until = time.monotonic() + _LONGEST
        time.sleep(chance.uniform(0.001, 0.012))
        while tool.is_alive():  # it may not have begun when it is killed for the first time
            kill_all(f"{shown.parent}/")
            tool.join(0.5)
            assert time.monotonic() < until


def _run_long(shown: Path) -> None:
    with suppress(ToolFailed):
        run_confined(["sleep", "4321"], shown, writable=True)


def test_a_tool_in_an_endless_loop_is_ended_by_its_own_work_and_not_by_the_clock(
    shown: Path,
) -> None:
    with pytest.raises(ToolTimedOut, match="without an end"):
        run_confined(["sh", "-c", "while :; do :; done"], shown, writable=True, work=1)


def test_a_lower_limit_of_the_host_holds_for_a_tool_too(shown: Path) -> None:
    """`ulimit -n 32`: nobody may raise it again, and prlimit would fail."""
    script = (
        "import resource, sys; from pathlib import Path; from growdisk.host.sandbox import *\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))\n"
        "print(run_confined(['sh', '-c', 'ulimit -n'], Path(sys.argv[1])).stdout)"
    )
    assert run(sys.executable, "-c", script, shown).split() == ["32"]


def test_what_was_killed_with_its_keeper_is_unmounted_by_the_next_run(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from growdisk.block.raw import RawFile\n"
        "from growdisk.host.fuse_mount import mounted\n"
        "with mounted({'disk': RawFile.create(Path(sys.argv[1]) / 'x', 4096)}) as (place, _):\n"
        "    print(place, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    place = process.stdout.readline().strip()
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    process.kill()
    process.communicate()
    assert f" {place} " in Path("/proc/self/mounts").read_text()
    device = RawFile.create(tmp_path / "disk.raw", MiB)
    with mounted({"disk": device}):
        assert f" {place} " not in Path("/proc/self/mounts").read_text()
        assert not Path(place).parent.exists()
    device.close()


def test_whoever_works_in_the_folder_of_a_killed_growdisk_dies_with_all_children_it_has_meanwhile(
    tmp_path: Path,
) -> None:
    """Each worker forks every few milliseconds, as bwrap does when it builds its sandbox."""
    worker = "import os, sys, time\nwhile os.fork():\n    time.sleep(0.002)\ntime.sleep(60)"
    script = (
        "import os, subprocess, sys; from pathlib import Path; from growdisk.block.raw import "
        "RawFile\n"
        "from growdisk.host.fuse_mount import mounted\n"
        "with mounted({'disk': RawFile.create(Path(sys.argv[1]) / 'x', 4096)}) as (place, _):\n"
        f"    words = [sys.executable, '-c', {worker!r}, f'{{place}}/disk']\n"
        "    for _ in range(3): subprocess.Popen(words, stdout=subprocess.DEVNULL)\n"
        "    print(place, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True, check=False
    )
    place = done.stdout.strip()
    until = time.monotonic() + _LONGEST
    while f" {place} " in Path("/proc/self/mounts").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not [line for line in _commands() if place.encode() + b"/disk" in line]


def _commands() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:
            continue


# --- file systems that lie ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sda1 ext4 without checksums, so that lies are believed; sda2 swap behind it."""
    folder = tmp_path_factory.mktemp("honest")
    image, files = folder / "disk.raw", folder / "files"
    (files / "etc").mkdir(parents=True)
    (files / "boot").mkdir()
    (files / "etc/fstab").write_text("/dev/sda1 / ext4 defaults 0 1\n/dev/sda2 none swap sw 0 0\n")
    (files / "boot/initrd.img-6.1").write_bytes(bytes(range(256)) * 400)
    for number in range(40):
        (files / f"file{number}").write_bytes(b"%d" % number * 3000)
    with image.open("wb") as file:
        file.truncate(41 * MiB)
    script = "label: dos\nstart=2048, size=65536, type=83\nstart=67584, size=14336, type=82\n"
    run("sfdisk", "-q", "--no-reread", image, stdin=script)
    run(
        "mke2fs", "-q", "-F", "-t", "ext4", "-O", "^metadata_csum,^resize_inode,^has_journal",
        "-d", files, "-E", f"root_owner=0:0,offset={PLACE.start}", image, f"{PLACE.length >> 10}k",
    )  # fmt: skip
    make_swap(image, SWAP, uuid="5e1f0c1d-0000-4000-8000-0000000000aa")
    return image


def test_the_honest_one_is_served(honest: Path, tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(honest.read_bytes())
    answer = in_process("expand", image, "+32M", "--backend", "direct")
    assert answer.code == 0, answer.err
    run("e2fsck", "-f", "-n", f"{image}?offset={PLACE.start}")


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where growdisk mounts what this test gives it, and nobody else mounts; a short path."""
    with tempfile.TemporaryDirectory(prefix="gd-", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.mark.parametrize(
    ("seed", "backend"),
    [*((seed, "direct") for seed in range(24)), *((s, "uml") for s in range(6))],
)
def test_a_file_system_that_lies_is_grown_or_refused_and_nothing_else(
    honest: Path, tmp_path: Path, scratch: Path, seed: int, backend: str
) -> None:
    need(backend)
    image = tmp_path / "disk.raw"
    lying = mutated(honest.read_bytes(), random.Random(seed))
    image.write_bytes(lying)
    started = time.monotonic()
    answer = in_process("expand", image, "+32M", "--backend", backend)
    assert time.monotonic() - started < _LONGEST
    assert answer.code in (0, 3, 4), answer.err
    if answer.code:
        assert image.read_bytes() == lying, answer.err
        assert "growdisk: " in answer.err and "  do:   " in answer.err
    else:
        run("e2fsck", "-f", "-n", f"{image}?offset={PLACE.start}")
    assert f" {scratch}/" not in Path("/proc/self/mounts").read_text()


def mutated(honest: bytes, chance: random.Random) -> bytes:
    """A few lies among its metadata: numbers that are large, zero, or another's."""
    content = bytearray(honest)
    used = [
        at for at in range(PLACE.start, PLACE.start + _METADATA, 16) if any(content[at : at + 16])
    ]
    for _ in range(chance.choice((1, 3, 10, 40))):
        at = chance.choice(used) + chance.randrange(16)
        size = chance.choice((1, 2, 4))
        number = chance.choice((0, 1, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF, chance.getrandbits(32)))
        content[at : at + size] = (number & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    return bytes(content)


# --- machines that cannot confine ---------------------------------------------------------------


def broken(folder: Path, monkeypatch: pytest.MonkeyPatch, tool: str, complaint: str) -> None:
    (folder / tool).write_text(f"#!/bin/sh\necho '{complaint}' >&2\nexit 1\n")
    (folder / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("tool", "complaint"),
    [
        ("bwrap", "bwrap: No permissions to create new namespace"),
        ("fusermount3", "fusermount3: mount failed: Operation not permitted"),
    ],
)
def test_where_nothing_can_be_confined_it_is_said_and_libguestfs_does_it(
    honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str, complaint: str
) -> None:
    broken(tmp_path, monkeypatch, tool, complaint)
    plan = in_process("plan", honest, "+32M")
    assert plan.code == 0
    told = " ".join(plan.out.split())  # lines are wrapped to the terminal
    assert complaint in told.partition("backend: guestfs (")[2]
    asked = in_process("plan", honest, "+32M", "--backend", "direct")
    assert asked.code == 3 and complaint in asked.err


def test_what_is_not_installed_is_named_with_its_package(
    honest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(available, "TOOLS", ("bwrap", "no-such-tool"))
    monkeypatch.setitem(available.__dict__, "PACKAGES", {"no-such-tool": "its-package"})
    plan = in_process("plan", honest, "+32M")
    assert (
        "backend: guestfs (no-such-tool is not installed: sudo apt-get install its-package)"
        in " ".join(plan.out.split())
    )
