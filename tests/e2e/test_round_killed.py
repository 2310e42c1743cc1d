"""A round of growdisk watch that is killed: the next ones continue it, and repeat nothing."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.e2e.judges import Before, assert_grown, virtual_size
from tests.e2e.process import Command, Host, await_true, journal
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run

OLD, STEP = 128 * MiB, 64 * MiB
RULES = """\
rules:
  - images: "[0-9].qcow2"
    when_used: 0.5%
    step: 64M
    min_interval: 1h
    keep_host_free: 0%
"""


@pytest.fixture
def disks(tmp_path: Path) -> list[Path]:
    (tmp_path / "rules.yml").write_text(RULES)
    first = make_disk(tmp_path / "0.qcow2", SmallDisk(size=OLD, swap_size=16 * MiB))
    others = [tmp_path / f"{number}.qcow2" for number in (1, 2)]
    for other in others:
        run("cp", "--sparse=always", first, other)
    return [first, *others]


@pytest.mark.parametrize("whole", [True, False], ids=["with-all-it-started", "alone"])
@pytest.mark.parametrize(
    "records", [0, 24, *(pytest.param(number, marks=pytest.mark.slow) for number in (8, 40))]
)
def test_the_next_rounds_go_on_and_each_disk_grows_once(
    host: Host, disks: list[Path], records: int, *, whole: bool
) -> None:
    before = Before.of(disks[0])
    command = host.start("watch", disks[0].with_name("rules.yml"))
    await_true(
        lambda: written(disks) >= records or command.process.poll() is not None,
        60,
        "the journals have grown",
    )
    time.sleep(random.uniform(0, 0.2))
    killed(command, whole=whole)
    results = list(rounds(host, disks))
    assert [virtual_size(disk) for disk in disks] == [OLD + STEP] * 3, results
    assert results[-1] == {"nothing"}
    # What a killed round had started goes on by itself, and may begin between a round's look at a
    # disk and its own try.
    assert set.union(*results) <= {
        "grown",
        "resumed",
        "busy",
        "nothing",
        *([] if whole else ["refused"]),
    }
    for disk in disks:
        assert_grown(disk, before)
    host.assert_quiet()


def written(disks: list[Path]) -> int:
    return sum(len(journal(disk)) for disk in disks)


def killed(command: Command, *, whole: bool) -> None:
    """Kill all that a service started, as systemd does; or growdisk watch alone, as the kernel."""
    victims = stopped(command.process.pid) if whole else []
    command.kill()
    for victim in victims:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)


def stopped(pid: int) -> list[int]:
    """What it has started, and what that has; each is stopped first, so that it starts no more."""
    children = list[int]()
    with suppress(OSError):
        os.kill(pid, signal.SIGSTOP)
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children += [int(word) for word in (thread / "children").read_text().split()]
    return [number for child in children for number in (child, *stopped(child))]


def rounds(host: Host, disks: list[Path]) -> Iterator[set[str]]:
    """The results of each, until there is nothing to do."""
    for _ in range(20):
        answer = host.growdisk("watch", disks[0].with_name("rules.yml"))
        results = {str(disk["result"]) for disk in answer.document["disks"]}  # type: ignore[attr-defined]
        yield results
        if results == {"nothing"}:
            return
        time.sleep(0.5)
