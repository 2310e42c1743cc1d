"""A running guest's disk of sectors of 4096 bytes: the guest is this machine, on a loop device."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from growdisk.api.live_request import LiveRequest
from growdisk.api.running import GuestTarget, running_guest
from growdisk.live.guest_block_device import SeenDisk
from growdisk.planner.goal import Goal, RunOptions
from growdisk.units import MiB
from growdisk.workflow.stopping import StopRequest
from tests.guests.loops import loop
from tests.guests.tools import run
from tests.unit.backends.this_machine import ThisMachine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loop devices")


def test_its_table_is_read_by_the_sectors_that_the_user_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "disk.raw"
    with image.open("wb") as file:
        file.truncate(64 * MiB)
    disk = SimpleNamespace(
        names=("disk0",), size=64 * MiB, actual_size=0, serial="", format="raw", snapshots=(),
        backing="", version=0, refcount_bits=0, corrupt=False,
    )  # fmt: skip
    machine = SimpleNamespace(status=lambda: "running", busy=lambda: "", is_migrating=lambda: False)
    reached = SimpleNamespace(
        machine=machine, disk=disk, path=image, request=LiveRequest(),
        open_shell=ThisMachine, close=lambda: None,
    )  # fmt: skip
    with loop(image, "--sector-size", "4096") as device:
        run("sfdisk", "-q", device, stdin="label: gpt\nstart=256,size=4096\n")
        seen = SeenDisk(str(device), 64 * MiB, "")
        monkeypatch.setattr("growdisk.api.live_inspect.reach", lambda _: reached)
        monkeypatch.setattr("growdisk.api.live_inspect.find_in_guest", lambda *_: seen)
        asked = running_guest(
            LiveRequest(image), Goal(sector_size=4096), RunOptions(), StopRequest()
        )
        with asked as target:
            assert isinstance(target, GuestTarget)
            table = target.guest.facts.table
            assert table is not None and table.sector_size == 4096
            assert [part.size for part in table.partitions] == [16 * MiB]
