"""XFS and btrfs on a second disk, grown mounted, at a strange path, beside a twin disk."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from growdisk.api.disks import inspect
from growdisk.guest_scripts.answers import ScriptOutcome
from growdisk.guest_scripts.render import render
from growdisk.guest_scripts.script_plan import GuestFilesystem, GuestPlan, Phase
from growdisk.partitions.blocks import BlockerPolicy
from growdisk.partitions.growth import Grown, plan_growth
from growdisk.planner.goal import Goal, SwapPolicy
from growdisk.planner.guest_plan import guest_plan
from growdisk.planner.planner import propose
from growdisk.planner.proposal import Proposal
from growdisk.units import MiB, parse_size
from tests.guest_scripts.machine import booted
from tests.guest_scripts.micro import EXT, UTIL_LINUX
from tests.guest_scripts.worlds import RUN, make_world
from tests.guests.layouts import Layout
from tests.guests.loops import loop
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run

pytestmark = pytest.mark.boot

PLACE = "/mnt/$(touch pwned) `touch pwned`;'touch pwned' \"x\" \\040"
SIZE = 640 * MiB


def _plan(disk: Path, kind: str) -> GuestPlan:
    facts = inspect(disk)
    assert facts.table is not None
    growth = plan_growth(facts.table, 1, 2 * SIZE, BlockerPolicy())
    assert isinstance(growth, Grown), growth
    filesystem = GuestFilesystem(kind, facts.contents[1].uuid, facts.contents[1].size or 0, 0)
    return GuestPlan(RUN, facts.table.with_disk_size(2 * SIZE), growth.table, 1, filesystem)


def test_a_file_system_on_a_whole_disk_is_found_by_its_uuid_and_grows(tmp_path: Path) -> None:
    data = make_disk(tmp_path / "data.qcow2", SmallDisk(Layout.NO_TABLE))
    root = make_world(tmp_path, (*UTIL_LINUX, *EXT))
    facts = inspect(data)
    proposal = propose(facts, Goal(parse_size("+512M")))
    assert isinstance(proposal, Proposal)
    with booted(root.disk, render(guest_plan(RUN, facts, proposal.steps)), data=data) as guest:
        early = guest.drive(Phase.PREPARE, RUN)
        assert (early.result, early.disk) == (
            ScriptOutcome.REBOOT,
            "/dev/sdb",
        )  # it has not grown yet
        guest.grow_disk(proposal.after.image.virtual_size, "data")
        assert guest.drive(Phase.UNDO, RUN, "--undo").result is ScriptOutcome.ALREADY
        guest.run("mkdir -p /mnt; mount /dev/sdb /mnt")
        done = guest.drive(Phase.VERIFY, RUN)
        assert (done.result, done.facts.mount_point) == (ScriptOutcome.DONE, "/mnt"), done
        assert guest.phase(Phase.GROW, RUN).result is ScriptOutcome.ALREADY
        refused = guest.drive(Phase.UNDO, RUN, "--undo")
        assert (refused.result, "has grown" in refused.what) == (ScriptOutcome.REFUSED, True)
        guest.commit()
    grown = inspect(data).contents[0]
    assert (grown.uuid, grown.size) == (facts.contents[0].uuid, proposal.after.contents[0].size)


@pytest.mark.parametrize(
    ("kind", "tools"),
    [("xfs", ("xfs_growfs",)), pytest.param("btrfs", ("btrfs",), marks=pytest.mark.slow)],
)
def test_a_mounted_file_system_grows_on_a_data_disk(
    tmp_path: Path, kind: str, tools: tuple[str, ...]
) -> None:
    data = make_disk(tmp_path / "data.qcow2", SmallDisk(Layout.PLAIN, size=SIZE, filesystem=kind))
    root = make_world(tmp_path, (*UTIL_LINUX, *EXT, *tools))
    plan = _plan(data, kind)
    with booted(root.disk, render(plan), data=data, drivers=(kind,)) as guest:
        alike = guest.phase(Phase.INSPECT, RUN)
        assert (alike.result, "several" in alike.what) == (ScriptOutcome.REFUSED, True)
        wrong = guest.phase(Phase.INSPECT, RUN, "GROWDISK_DISK=/dev/sda")
        assert (wrong.result, "does not hold" in wrong.what) == (ScriptOutcome.REFUSED, True)
        guest.grow_disk(2 * SIZE, "data")
        unmounted = guest.phase(Phase.PREPARE, RUN, "GROWDISK_DISK=/dev/sdb")
        assert (unmounted.result, "not mounted" in unmounted.what) == (ScriptOutcome.REFUSED, True)
        place = (
            PLACE.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
        )
        guest.run(f'mkdir -p "{place}"; mount -t {kind} /dev/sdb1 "{place}"; cd /tmp')
        done = guest.drive(Phase.VERIFY, RUN, environment="GROWDISK_DISK=/dev/sdb")
        assert done.result is ScriptOutcome.DONE, (done, guest.run("cat /var/log/growdisk.log"))
        assert done.facts.mount_point == PLACE
        assert done.facts.filesystem_size > SIZE
        assert guest.run("find / -xdev -name pwned") == ""
        guest.run("sync; umount /dev/sdb1; sync")
        guest.cut_power()
    after = inspect(data)
    assert after.table == plan.after
    assert (after.contents[1].size or 0) > SIZE


@pytest.mark.skipif(os.geteuid() != 0, reason="loop devices")
@pytest.mark.parametrize("swap", ["drop", pytest.param("move", marks=pytest.mark.slow)])
def test_a_disk_with_sectors_of_4096_bytes_grows_mounted(tmp_path: Path, swap: SwapPolicy) -> None:
    """Swap stands in the way, and is off, as on a disk of another guest."""
    raw, data = tmp_path / "data.raw", tmp_path / "data.qcow2"
    with raw.open("wb") as file:
        file.truncate(256 * MiB)
    table = "label: gpt\n1: start=256, size=51200\n2: start=51456, size=4096, type=swap\n"
    with loop(raw, "--sector-size", "4096") as device:
        run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", device, stdin=table)
    for start, size, make in ((1, 200, ("mke2fs", "-q", "-b", "4096")), (201, 16, ("mkswap",))):
        where = ("--offset", str(start * MiB), "--sizelimit", str(size * MiB))
        with loop(raw, "--sector-size", "4096", *where) as device:
            run(*make, device)
    run("qemu-img", "convert", "-O", "qcow2", raw, data)
    root = make_world(tmp_path, (*UTIL_LINUX, *EXT))
    facts = inspect(data, sector_size=4096)
    proposal = propose(facts, Goal(parse_size("+512M"), swap=swap, sector_size=4096))
    assert isinstance(proposal, Proposal), proposal
    plan = guest_plan(RUN, facts, proposal.steps)
    with booted(root.disk, render(plan), data=data, data_sector=4096) as guest:
        guest.grow_disk(proposal.after.image.virtual_size, "data")
        guest.run("mkdir -p /mnt; mount /dev/sdb1 /mnt; echo kept >/mnt/file")
        done = guest.drive(Phase.VERIFY, RUN)
        assert done.result is ScriptOutcome.DONE, (done, guest.run("cat /var/log/growdisk.log"))
        assert guest.run("cat /mnt/file").strip() == "kept"
        guest.run("umount /mnt")
        guest.commit()
    after = inspect(data, sector_size=4096)
    assert after.table == plan.after
    assert after.contents[1].size == plan.filesystem.new_size > 650 * MiB
    assert (2 in after.contents) == (swap == "move")
    run("qemu-img", "convert", "-O", "raw", data, raw)
    with loop(raw, "--sector-size", "4096") as device:
        assert "No errors detected" in run("sfdisk", "--verify", device)
        assert "No problems found" in run("sgdisk", "-v", device)
    run("e2fsck", "-fn", f"{raw}?offset={MiB}")


@pytest.mark.slow
def test_a_serial_tells_disks_apart_that_look_the_same(tmp_path: Path) -> None:
    data = make_disk(tmp_path / "data.qcow2", SmallDisk(Layout.CLASSIC))
    root = make_world(tmp_path, (*UTIL_LINUX, *EXT))
    with booted(root.disk, render(replace(root.plan, serial="DATA-1")), data=data) as guest:
        assert guest.phase(Phase.INSPECT, RUN).disk == "/dev/sdb"
