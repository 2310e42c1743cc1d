"""How a plan is carried out on a running guest: pure decisions from QEMU's answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from growdisk.api.disks import inspect
from growdisk.filesystems.content import Content, F2fsContent, NtfsContent, XfsContent
from growdisk.host.free_space import HostRoom
from growdisk.live.live_disk import Arrival, Bus
from growdisk.planner.facts import Facts, ImageFacts
from growdisk.planner.goal import Goal, RunOptions
from growdisk.planner.live_plan import HostEnvironment, make_live_plan
from growdisk.planner.plan import GuestConnection, Plan, decode_plan, encode_plan
from growdisk.planner.planner import propose
from growdisk.planner.proposal import Proposal
from growdisk.planner.refusals import CannotGrow
from growdisk.units import GiB, MiB, parse_size
from tests.conftest import DiskMaker
from tests.refusals import raises
from tests.unit.planner.live_facts import AROUND, DISK, WAY

IDE = Bus("IDE or SATA", Arrival.RESTART)
NVME = Bus("NVMe", Arrival.NEVER)


@pytest.fixture(autouse=True)
def guest(small_disk: DiskMaker) -> Path:
    """guest.qcow2 in the folder of the test."""
    return small_disk()


def planned(
    folder: Path,
    around: HostEnvironment = AROUND,
    options: RunOptions | None = None,
    way: GuestConnection = WAY,
    swap: str = "drop",
) -> Plan:
    image = folder / "guest.qcow2"
    goal = Goal(parse_size("+1G"), swap=swap)
    facts = inspect(image)
    proposal = propose(facts, goal)
    assert isinstance(proposal, Proposal)
    return make_live_plan("run-1", facts, proposal, goal, options or RunOptions(), around, way)


def with_disk(**changes: object) -> HostEnvironment:
    disk = replace(DISK, **changes)
    return replace(AROUND, disk=disk, disks=(disk,))


def test_the_plan_has_the_steps_of_the_offline_one_and_survives_being_written_down(
    tmp_path: Path,
) -> None:
    plan = planned(tmp_path)
    names = [
        "resize-image",
        "rewrite-partitions",
        "reread-partitions",
        "grow-filesystem",
        "repair-guest",
    ]
    assert [step.name for step in plan.steps] == names
    assert decode_plan(encode_plan(plan)) == plan
    assert plan.way is not None and plan.way.guest is not None and plan.way.guest.run == plan.run


@pytest.mark.parametrize(
    ("around", "mode", "note"),
    [
        (AROUND, "internal", "what it did since is lost"),
        (with_disk(format="raw", version=0), "none", "the image is raw"),
        (with_disk(version=2), "none", "qcow2 version 2"),
        (with_disk(refcount_bits=1), "none", "refcounts of 1 bits"),
        (with_disk(encrypted=True), "none", "the image is encrypted"),
        (
            replace(AROUND, fixed="non-migratable device: nvme"),
            "none",
            "cannot save all of the machine",
        ),
        (with_disk(data_file="x.data"), "none", "keeps its data in another file"),
        (replace(AROUND, disks=(DISK, replace(DISK, encrypted=True))), "internal", "is lost"),
        (
            replace(AROUND, disks=(DISK, replace(DISK, names=("data",), format="raw"))),
            "none",
            "its disk data is raw",
        ),
        (
            replace(AROUND, disks=(DISK, replace(DISK, format="raw", read_only=True))),
            "internal",
            "is lost",
        ),
        (
            replace(AROUND, host=replace(AROUND.host, free=3 * GiB)),
            "none",
            "5 snapshots of 1.0 GiB",
        ),
    ],
    ids=[
        "usual",
        "raw",
        "version-2",
        "narrow",
        "encrypted",
        "fixed",
        "data-file",
        "encrypted-beside",
        "raw-beside",
        "read-only-beside",
        "full-host",
    ],
)
def test_snapshots_with_memory_are_the_default_where_qemu_can_make_them(
    tmp_path: Path, around: HostEnvironment, mode: str, note: str
) -> None:
    plan = planned(tmp_path, around)
    assert plan.snapshots == mode
    assert note in " ".join(plan.notes)


def test_what_cannot_be_is_refused_when_asked_for(tmp_path: Path) -> None:
    with raises("option-unsupported", match="raw"):
        planned(tmp_path, with_disk(format="raw", version=0), RunOptions(snapshots="internal"))


@pytest.mark.parametrize(
    ("around", "options"),
    [
        (replace(AROUND, managed=True), RunOptions(snapshots="overlay")),
        (AROUND, RunOptions(snapshots="overlay", keep=True)),
        (with_disk(format="raw", version=0), RunOptions(keep=True)),
        (with_disk(encrypted=True), RunOptions(snapshots="overlay")),
        (AROUND, RunOptions(backend="guestfs")),
        (with_disk(bus=IDE), RunOptions()),
        (with_disk(bus=NVME), RunOptions()),
    ],
    ids=[
        "libvirt-overlay",
        "kept-overlay",
        "kept-none",
        "encrypted-overlay",
        "backend",
        "ide",
        "nvme",
    ],
)
def test_combinations_that_would_lose_data_or_cannot_work_are_refused(
    tmp_path: Path, around: HostEnvironment, options: RunOptions
) -> None:
    with raises("option-unsupported"):
        planned(tmp_path, around, options)


def with_whole_disk(content: Content) -> Plan:
    image = ImageFacts(Path("guest.qcow2"), "qcow2", GiB, MiB, version=3)
    facts, goal = Facts(image, None, {0: content}), Goal(parse_size("+1G"))
    proposal = propose(facts, goal)
    assert isinstance(proposal, Proposal)
    around = with_disk(size=GiB)
    plan = make_live_plan("run-1", facts, proposal, goal, RunOptions(snapshots="none"), around, WAY)
    assert decode_plan(encode_plan(plan)) == plan
    return plan


def test_a_disk_without_a_table_has_nothing_to_rewrite() -> None:
    plan = with_whole_disk(
        XfsContent(
            "xfs",
            "5E1F0C1D-0000-4000-8000-00000000A001",
            size=GiB,
            block_count=1 << 18,
            ag_blocks=1 << 16,
            ag_count=4,
        )
    )
    assert [step.name for step in plan.steps] == ["resize-image", "grow-filesystem"]
    assert plan.way is not None and plan.way.guest is not None
    guest = plan.way.guest
    assert (guest.is_whole_disk, guest.content_kind, guest.room) == (True, "xfs", 2 * GiB)
    assert (guest.before.disk_id, guest.goal.size) == ("5e1f0c1d00004000800000000000a001", 2 * GiB)
    assert "point of no return: grow-filesystem" in " ".join(plan.notes)


@pytest.mark.parametrize(
    "content", [F2fsContent("f2fs", size=GiB), NtfsContent("ntfs", size=GiB)], ids=["f2fs", "ntfs"]
)
def test_what_only_grows_at_rest_is_refused_with_the_way_out(content: Content) -> None:
    with pytest.raises(CannotGrow, match="does not do in a running guest") as refused:
        with_whole_disk(content)
    assert "shut the guest down" in refused.value.what_to_do


def test_a_partition_is_not_moved_while_it_is_in_use(guest: Path) -> None:
    facts, goal = inspect(guest), Goal(parse_size("+1G"), move=(5,))
    proposal = propose(facts, replace(goal, move=()))
    assert isinstance(proposal, Proposal)
    with raises("option-unsupported", match="--move") as refused:
        make_live_plan("run-1", facts, proposal, goal, RunOptions(), AROUND, WAY)
    assert "shut the guest down" in refused.value.what_to_do


def test_a_restart_that_is_allowed_is_announced(tmp_path: Path) -> None:
    plan = planned(tmp_path, with_disk(bus=IDE), way=replace(WAY, allow_reboot=True))
    assert "RESTARTS once" in plan.steps[0].describe()
    assert "the guest restarts once" in plan.notes[0]


def test_a_host_that_may_fill_up_is_warned_of(tmp_path: Path) -> None:
    full = replace(
        AROUND, memory=MiB, host=HostRoom(100 * MiB, 200 * GiB, "in the thin pool vg0/pool")
    )
    assert (
        "the host has 100.0 MiB free in the thin pool vg0/pool" in planned(tmp_path, full).notes[-1]
    )
    nearly = replace(AROUND, memory=MiB, host=HostRoom(9 * GiB, 200 * GiB, "on /srv"))
    assert "WARNING" in planned(tmp_path, nearly).notes[-1]
    assert "WARNING" not in " ".join(planned(tmp_path).notes)


def test_a_block_device_that_is_too_small_is_refused_before_qemu_is_asked(tmp_path: Path) -> None:
    device = replace(
        with_disk(format="raw", version=0), host=HostRoom(GiB, GiB, "on /dev/vg/x", 512 * MiB)
    )
    with raises("option-unsupported", match="block device"):
        planned(tmp_path, device)
