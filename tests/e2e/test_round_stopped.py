"""A round of growdisk watch that is asked to stop: work in progress goes back, the rest waits."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.e2e.judges import Before, assert_grown, assert_unchanged, virtual_size
from tests.e2e.process import Host, wait_for
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run

OLD, STEP = 128 * MiB, 64 * MiB
RULES = 'rules: [{images: "[0-9].qcow2", when_used: 0.5%, step: 64M, keep_host_free: 0%}]'


@pytest.fixture
def disks(tmp_path: Path) -> list[Path]:
    (tmp_path / "rules.yml").write_text(RULES)
    first = make_disk(tmp_path / "0.qcow2", SmallDisk(size=OLD, swap_size=16 * MiB))
    others = [tmp_path / f"{number}.qcow2" for number in range(1, 4)]
    for other in others:
        run("cp", "--sparse=always", first, other)
    return [first, *others]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nothing_is_left_half_done_and_the_next_round_does_all(
    host: Host, disks: list[Path], number: signal.Signals
) -> None:
    before, rules = Before.of(disks[0]), disks[0].with_name("rules.yml")
    command = host.start("watch", rules, "-j", "1")
    wait_for(command, disks[0], "applying", "rewrite-partitions")
    command.signal(number)
    answer = command.ended()
    host.assert_quiet()
    results = {Path(str(disk["path"])): disk["result"] for disk in answer.document["disks"]}  # type: ignore[attr-defined]
    assert (answer.code, set(results.values()) - {"grown"}) == (4, {"restored"})
    for disk, result in results.items():
        assert virtual_size(disk) == OLD + (STEP if result == "grown" else 0)
        if result == "restored":
            assert_unchanged(disk, before)
    assert host.growdisk("watch", rules).code == 0
    for disk in disks:
        assert_grown(disk, before)
