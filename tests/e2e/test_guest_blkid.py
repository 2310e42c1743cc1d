"""A running guest's own blkid as second opinion: the guest is this machine, on a loop device."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from growdisk.api.disk_facts import inspect_device
from growdisk.api.live_inspect import GuestPlace, ask_guest, confirmed_by_guest
from growdisk.block.raw import RawFile
from growdisk.errors import Refused
from growdisk.host.blkid import CannotAsk
from growdisk.planner.facts import Facts, ImageFacts
from growdisk.planner.goal import Goal
from growdisk.planner.planner import propose
from growdisk.planner.proposal import Proposal
from growdisk.units import MiB, parse_size
from tests.guests.foreign import AT_THE_END
from tests.guests.loops import loop
from tests.guests.tools import place_content, run
from tests.unit.backends.this_machine import ThisMachine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loop devices")

_ROOT = 32 * MiB
_SCRIPT = f"label: dos\nstart=2048,size={_ROOT // 512},type=83\nstart=71680,size=8192,type=82\n"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A root, a gap, swap, and free space behind that."""
    path, root, swap = tmp_path / "disk.raw", tmp_path / "root", tmp_path / "swap"
    for file, size in ((path, 64 * MiB), (root, _ROOT), (swap, 4 * MiB)):
        file.write_bytes(b"")
        os.truncate(file, size)
    run("sfdisk", "-q", path, stdin=_SCRIPT)
    run("mke2fs", "-q", "-F", "-t", "ext4", root, f"{30 << 10}k")
    run("mkswap", "-q", swap)
    for file, sector in ((root, 2048), (swap, 71680)):
        place_content(file, path, sector * 512)
    yield path


def put(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def heard(path: Path, shell: Any | None = None) -> Proposal:
    goal = Goal(size=parse_size("+64M"))
    with closing(RawFile.open(path)) as device:
        facts: Facts = inspect_device(
            device, ImageFacts(path, "raw", device.size, 0), thorough=False
        )
    proposal = propose(facts, goal)
    assert isinstance(proposal, Proposal)
    with loop(path) as device_file:
        guest: Any = SimpleNamespace(
            facts=facts,
            device=str(device_file),
            inside=SimpleNamespace(shell=shell or ThisMachine()),
        )
        return confirmed_by_guest(guest, goal, proposal)


def test_a_guest_that_sees_the_same_has_nothing_to_say(disk: Path) -> None:
    assert "blkid" not in " ".join(heard(disk).notes)


def test_what_the_guests_blkid_alone_knows_is_refused_by_its_name(disk: Path) -> None:
    """A controller's mark without its checksum, at the end of the swap that would be given up."""
    put(disk, 71680 * 512 + 4 * MiB - 512, b"JM\x01\x02\x07")
    with pytest.raises(Refused, match="jmicron_raid_member"):
        heard(disk)


def test_an_array_that_the_whole_disk_belongs_to_is_refused(disk: Path) -> None:
    for offset, data in AT_THE_END["DRBD 8"][1](64 * MiB):
        put(disk, offset, data)
    put(disk, 64 * MiB - 512, b"JM\x01\x02\x07")
    with pytest.raises(Refused, match="belongs to something larger"):
        heard(disk)


def test_a_volume_that_no_entry_names_is_not_grown_over(disk: Path, tmp_path: Path) -> None:
    lost = tmp_path / "lost"
    lost.write_bytes(bytes(2 * MiB))
    run("mke2fs", "-q", "-F", "-t", "ext4", lost)
    put(disk, 2048 * 512 + _ROOT, lost.read_bytes())
    with pytest.raises(Refused, match="where no partition is"):
        heard(disk)


def test_noise_in_a_gap_does_not_hinder(disk: Path) -> None:
    put(disk, 2048 * 512 + _ROOT, random.Random(1).randbytes(MiB))
    heard(disk)


def test_a_guest_whose_blkid_is_another_one_says_so(disk: Path, tmp_path: Path) -> None:
    other = tmp_path / "blkid"
    other.write_text("#!/bin/sh\necho BusyBox >&2; exit 1\n")
    other.chmod(0o755)

    class Small(ThisMachine):
        def run(self, script: str, timeout: float) -> Any:
            return super().run(f"PATH={tmp_path}:$PATH\n{script}", timeout)

    assert isinstance(ask_guest(Small(), {"it": GuestPlace(str(disk))}), CannotAsk)
    assert "blkid could not be asked in the guest" in " ".join(heard(disk, Small()).notes)


def test_a_device_that_is_not_there_is_no_verdict(tmp_path: Path) -> None:
    told = ask_guest(ThisMachine(), {"gone": GuestPlace(str(tmp_path / "gone"))})
    assert not isinstance(told, CannotAsk) and told["gone"].failed
