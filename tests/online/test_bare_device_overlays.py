"""Overlays under a running machine whose disk is a block device: they lie in the state folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from growdisk.api.disks import inspect
from growdisk.api.live_target import LiveRequest, RunningGuest, reach
from growdisk.api.recorded_runs import rollback
from growdisk.host.free_space import HostRoom
from growdisk.planner.goal import Goal, RunOptions
from growdisk.planner.live_plan import make_live_plan
from growdisk.planner.plan import Plan, encode_plan
from growdisk.planner.planner import propose
from growdisk.planner.proposal import Proposal
from growdisk.storage.device import device_size, look_at_storage, resize_device
from growdisk.units import GiB, MiB, parse_size
from growdisk.workflow.journal import Event, JournalRecord
from growdisk.workflow.run_directory import RunDirectory
from tests.conftest import DiskMaker
from tests.guests.layouts import Layout
from tests.guests.loops import loop
from tests.guests.small import SmallDisk
from tests.guests.tools import run
from tests.online.machine import bare_machine
from tests.online.overlay_world import NAME, World, planned_on, world_of
from tests.refusals import raises
from tests.unit.cli.command import fingerprint
from tests.unit.planner.live_facts import AROUND, DISK, WAY

pytestmark = pytest.mark.timeout(120)
OLD, NEW = 128 * MiB, 192 * MiB


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if os.geteuid() != 0:
        pytest.skip("loop devices are root's")
    folder = tmp_path / "state"
    monkeypatch.setenv("GROWDISK_STATE_DIR", str(folder))
    return folder


@pytest.fixture
def image(small_disk: DiskMaker) -> Path:
    wanted = SmallDisk(layout=Layout.CLASSIC, size=OLD, swap_size=16 * MiB, image_format="raw")
    return small_disk("guest.raw", wanted)


@pytest.fixture
def device(image: Path) -> Iterator[Path]:
    with loop(image) as path:
        yield path


@contextmanager
def started_on(device: Path) -> Iterator[World]:
    with bare_machine(device, "raw") as guest, guest.monitor() as machine:
        yield world_of(guest, machine)


def written(world: World, offset: int) -> None:
    words = f'qemu-io disk "write -P 0x33 {offset} 64k"'
    world.worker.machine.monitor.execute("human-monitor-command", command_line=words)


def data_of(image: Path) -> str:
    return fingerprint(image)[0]


def plan_on(device: Path) -> Plan:
    facts = inspect(device)
    facts = replace(facts, image=replace(facts.image, storage=look_at_storage(device)))
    goal = Goal(parse_size("+64M"))
    proposal = propose(facts, goal)
    assert isinstance(proposal, Proposal)
    disk = replace(DISK, format="raw", version=0, size=OLD)
    room = HostRoom(GiB, GiB, "on /srv", device_size=OLD)
    around = replace(AROUND, disk=disk, disks=(disk,), host=room)
    options = RunOptions(snapshots="overlay")
    return make_live_plan("run-1", facts, proposal, goal, options, around, WAY)


def test_an_overlay_names_the_device_and_is_merged_into_it_when_both_have_grown(
    device: Path, image: Path
) -> None:
    with started_on(device) as world:
        store = world.store()
        store.take(NAME)
        told = run("qemu-img", "info", "-U", "--backing-chain", world.written_to)
        assert f"backing file: {device}\n" in told
        resize_device(device, NEW)
        world.worker.machine.resize(world.worker.key, NEW)
        written(world, NEW - MiB)
        store.commit()
        assert (world.written_to, world.worker.disk.size) == (device, NEW)
        assert list(world.folder.iterdir()) == []
    assert run("qemu-io", "-f", "raw", "-c", f"read -P 0x33 {NEW - MiB} 64k", image)


def test_during_a_run_the_image_of_the_guest_is_the_device(device: Path) -> None:
    with started_on(device) as world:
        world.store().take(NAME)
        for request in (LiveRequest(qmp=world.guest.sockets.qmp), LiveRequest(path=device)):
            found = reach(request)
            assert isinstance(found, RunningGuest)
            with closing(found):
                assert found.path == device


def test_a_run_in_another_state_folder_keeps_a_new_one_out(
    device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = encode_plan(plan_on(device))
    with started_on(device) as world:
        RunDirectory.of(device).begin(plan)
        world.store().take(NAME)
        monkeypatch.setenv("GROWDISK_STATE_DIR", str(tmp_path / "another"))
        found = reach(LiveRequest(qmp=world.guest.sockets.qmp))
        assert isinstance(found, RunningGuest)
        with closing(found), raises("overlay-of-no-run"):
            assert found.path == device
            planned_on(found)


def test_a_rollback_while_the_guest_is_off_gives_the_device_its_old_size(
    device: Path, image: Path
) -> None:
    plan, before = plan_on(device), data_of(image)
    with started_on(device) as world:
        journal = RunDirectory.of(device).begin(encode_plan(plan))
        journal.append(JournalRecord(Event.BEGIN, facts={"run": plan.run}))
        journal.append(JournalRecord(Event.SNAPSHOTTING, NAME))
        world.store().take(NAME)
        journal.append(JournalRecord(Event.APPLYING, NAME))
        resize_device(device, NEW)
        world.worker.machine.resize(world.worker.key, NEW)
        written(world, MiB)
        world.guest.pull_the_plug()
    assert device_size(device) == NEW
    assert rollback(device).result == "restored"
    assert (device_size(device), image.stat().st_size, data_of(image)) == (OLD, OLD, before)
