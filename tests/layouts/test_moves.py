"""Moving a partition with its content: exact copies, overlapping or not, and a way back."""

from __future__ import annotations

import random
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from growdisk.api.current_run import CurrentRun
from growdisk.api.disk_facts import image_facts, inspect_device
from growdisk.api.session import Session
from growdisk.block.raw import RawFile
from growdisk.partitions.table import PartitionTable
from growdisk.planner.goal import Goal, RunOptions
from growdisk.planner.moves import is_repeatable
from growdisk.planner.plan import Plan, make_plan
from growdisk.planner.planner import propose
from growdisk.planner.proposal import Proposal
from growdisk.steps.disk import Disk
from growdisk.steps.moving import Move, copy, digest
from growdisk.units import MiB, parse_size
from growdisk.workflow.journal import RunStatus
from growdisk.workflow.run_directory import RunDirectory
from tests.crash.dying import run_dying
from tests.crash.whole_disks import assert_same_disk
from tests.guests.tools import run
from tests.layouts.disks import Layout, look, make
from tests.unit.cli.command import GUESTFS, NO_APPLIANCE, growdisk, in_process

HOME_BEHIND = Layout(
    "label: dos\nlabel-id: 0x5ca1ab1e\n1: start=2048, size=20480, type=83, bootable\n"
    "2: start=24574, size=40962, type=5\n5: start=24576, size=8192, type=82\n6: start=34816, "
    "size=30720, type=83\n",
    34 * MiB,
    {1: "small-ext4", 5: "swap", 6: "small-ext4"},
)
ASKED = ("+10M", "--move", "6", "--partition", "1")
MOVING = Goal(parse_size("+10M"), partition="1", move=(6,))
# A disk of data, whose MBR becomes a GPT.
DATA = Layout(
    "label: dos\nlabel-id: 0x5ca1ab1e\n1: start=2048, size=20480, type=83\n2: start=22528, "
    "size=40960, type=5\n"
    "5: start=24576, size=8192, type=82\n6: start=34816, size=28672, type=83\n",
    34 * MiB,
    {1: "small-ext4", 5: "swap", 6: "small-ext4"},
    boot_code=False,
)
CONVERTING = Goal(parse_size("+10M"), partition="6", to_gpt=True)


# --- the copy -----------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [512, MiB, 5 * MiB, 11 * MiB, 30 * MiB])
def test_a_copy_is_exact_and_leaves_its_surroundings_alone(tmp_path: Path, distance: int) -> None:
    disk = tmp_path / "disk.raw"
    noise = bytearray(random.Random(1).randbytes(64 * MiB))
    move = Move(3, 2 * MiB, 2 * MiB + distance, 11 * MiB + 512)
    with disk.open("wb") as file:  # its first half is noise, then comes a hole, then noise again
        file.write(noise[: 7 * MiB])
        file.seek(12 * MiB)
        file.write(noise[12 * MiB :])
    before = disk.read_bytes()
    with closing(RawFile.open(disk, writable=True, lock=False)) as device:
        told = copy(device, move, lambda: None)
        assert digest(device, move) == told
    after = disk.read_bytes()
    place, end = move.new_start, move.new_start + move.size
    assert after[place:end] == before[move.start : move.start + move.size]
    assert (after[: move.start], after[end:]) == (before[: move.start], before[end:])


def test_a_wrong_byte_is_noticed(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(random.Random(2).randbytes(32 * MiB))
    move = Move(3, 0, 16 * MiB, 9 * MiB)
    with closing(RawFile.open(disk, writable=True, lock=False)) as device:
        told = copy(device, move, lambda: None)
        device.write(20 * MiB, bytes([device.read(20 * MiB, 1)[0] ^ 1]))
        assert digest(device, move) != told


def test_a_move_can_be_begun_anew_only_where_nothing_needed_is_written_over() -> None:
    table = PartitionTable("gpt", "A", 512, 100 * MiB, ())
    assert is_repeatable(table, (Move(3, 10 * MiB, 30 * MiB, 20 * MiB),))
    assert not is_repeatable(table, (Move(3, 10 * MiB, 29 * MiB, 20 * MiB),))
    chain = (Move(4, 30 * MiB, 60 * MiB, 20 * MiB), Move(3, 10 * MiB, 40 * MiB, 20 * MiB))
    assert not is_repeatable(table, chain)


# --- the run ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["qcow2", "raw"])
def test_a_run_that_fails_later_puts_everything_back(tmp_path: Path, kind: str) -> None:
    image = make(tmp_path / f"guest.{kind}", replace(HOME_BEHIND, image_format=kind))
    before = look(image, kind)
    # the first step behind the table fails
    answer = growdisk("expand", image, *ASKED, *GUESTFS, env=NO_APPLIANCE)
    assert (answer.code, "is as it was before the run" in answer.out) == (4, True), answer
    assert look(image, kind) == before


def test_without_snapshots_no_partition_is_moved_over_itself(tmp_path: Path) -> None:
    image = make(tmp_path / "guest.qcow2", HOME_BEHIND)
    answer = in_process("plan", image, *ASKED, "--snapshots", "none")
    assert (answer.code, "moves by less than its own size" in answer.err) == (3, True), answer
    assert in_process("plan", image, "+100M", *ASKED[1:], "--snapshots", "none").code == 0


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("boot_sector", [0, 34816 * 512])
def test_what_grub_in_a_boot_sector_reads_by_its_place_stays_there(
    tmp_path: Path, legacy: bool, boot_sector: int
) -> None:
    """As grub-install --force leaves it in a partition, or where there is no room before one."""
    image = make(tmp_path / "guest.raw", replace(HOME_BEHIND, image_format="raw"))
    for sector, code in ((1, 0), (34816 + 700, 3)):
        with image.open("r+b") as file:
            file.seek(boot_sector)
            file.write(bytes(440))
            for at, data in (
                (0x3E, b"\3\2" if legacy else b""),
                (0x44 if legacy else 0x5C, sector.to_bytes(4, "little")),
                (384, b"GRUB \0Geom\0"),
            ):
                file.seek(boot_sector + at)
                file.write(data)
        answer = in_process("plan", image, *ASKED)
        assert (answer.code, "GRUB, LILO" in answer.err) == (code, bool(code)), answer
        without = ("--delete", "6", "--partition", "1", "--swap", "drop")
        deleted = in_process("plan", image, "+10M", *without)
        told = "would not start by BIOS" in " ".join(deleted.out.split())
        assert (deleted.code, told) == (0, bool(code)), deleted


def test_what_lilo_may_read_by_its_place_stays_there(tmp_path: Path) -> None:
    image = make(tmp_path / "guest.raw", replace(HOME_BEHIND, image_format="raw"))
    jump = b"\xfa\xeb\x7c\x00\x01\x00"
    # The second is an MBR of LILO's that starts the active partition.
    for boot_code, code in ((jump + b"LILO\1", 3), (jump + b"LILO\x20", 0), (b"zIPL".ljust(11), 3)):
        with image.open("r+b") as file:
            file.write(boot_code)
        answer = in_process("plan", image, *ASKED)
        assert (answer.code, "GRUB, LILO" in answer.err) == (code, bool(code)), answer
        assert in_process("plan", image, "+10M", "--swap", "move").code == 0


def test_an_ext4_that_the_boot_sector_reads_by_its_blocks_grows_as_far_as_they_stay(
    tmp_path: Path,
) -> None:
    image = make(tmp_path / "guest.raw", replace(HOME_BEHIND, image_format="raw"))
    place = 34816 * 512
    run(
        "mke2fs",
        "-q",
        "-F",
        "-b",
        "1024",
        "-O",
        "^resize_inode",
        "-E",
        f"offset={place}",
        image,
        "15M",
    )
    assert in_process("plan", image, "+2G", "--partition", "6").code == 0
    with image.open("r+b") as file:
        file.seek(0x5C)
        file.write((34816 + 700).to_bytes(8, "little"))
        file.seek(384)
        file.write(b"GRUB ")
    assert in_process("plan", image, "+90M", "--partition", "6").code == 0
    assert "growing would move them" in in_process("plan", image, "+2G", "--partition", "6").err
    with image.open("r+b") as file:
        file.write(b"\xfa\xeb\x7c\x00\x01\x00LILO\1".ljust(440, b"\0"))
    assert "growing would move them" in in_process("plan", image, "+2G", "--partition", "6").err


def test_no_consent_names_what_stands_there_and_the_commands(tmp_path: Path) -> None:
    image = make(tmp_path / "guest.qcow2", HOME_BEHIND)
    answer = in_process("plan", image, "+10M", "--partition", "1")
    assert answer.code == 3
    assert (
        "partition 5 (swap, 4.0 MiB) and partition 6 (ext4, 15.0 MiB) stand between partition 1"
        in answer.err
    )
    assert "--move 6" in answer.err
    assert "--delete 6" in answer.err


def test_scripts_for_a_running_guest_do_not_move_what_is_in_use(tmp_path: Path) -> None:
    image = make(tmp_path / "guest.qcow2", HOME_BEHIND)
    answer = in_process("script", image, *ASKED, "-o", tmp_path / "scripts")
    assert answer.code == 3, answer
    assert "sda6 copied" in answer.err
    assert not (tmp_path / "scripts").exists()


# --- crashes ------------------------------------------------------------------------------------


def _planned(image: Path, disk: Disk, goal: Goal) -> Plan:
    """The same in every process: the first two steps, which need no appliance."""
    facts = inspect_device(disk, image_facts(disk.active, image))
    proposal = propose(facts, goal)
    assert isinstance(proposal, Proposal)
    plan = make_plan("20260101-000000-test", facts, proposal, goal, RunOptions())
    return replace(plan, steps=plan.steps[:2])


@pytest.mark.parametrize("kind", ["qcow2", "raw"])
@pytest.mark.parametrize(
    ("layout", "goal"), [(HOME_BEHIND, MOVING), (DATA, CONVERTING)], ids=["a move", "a GPT"]
)
def test_a_table_and_a_move_that_die_at_any_write_are_finished_or_undone(
    tmp_path: Path, kind: str, layout: Layout, goal: Goal
) -> None:
    pristine = make(tmp_path / f"pristine.{kind}", replace(layout, image_format=kind))
    folder = tmp_path / "run"
    image = folder / f"guest.{kind}"

    def reset() -> Plan:
        run("rm", "-rf", folder)
        folder.mkdir()
        run("cp", "--sparse=always", pristine, image)
        with closing(Disk.open(image, kind)) as disk:  # type: ignore[arg-type]
            return _planned(image, disk, goal)

    def begin(plan: Plan) -> None:
        with closing(Disk.open(image, kind)) as disk:  # type: ignore[arg-type]
            session = Session.begin(CurrentRun(image, plan, RunDirectory(image)), disk)
            session.engine.advance()

    def go(plan: Plan, *, back: bool) -> None:
        with closing(Disk.open(image, kind)) as disk:  # type: ignore[arg-type]
            session = Session.reopen(CurrentRun(image, plan, RunDirectory(image)), disk)
            session.engine.roll_back() if back else session.engine.advance()

    plan = reset()
    begin(plan)
    grown = tmp_path / f"grown.{kind}"
    run("cp", "--sparse=always", image, grown)
    undone = finished = 0
    for change in range(12, 1000, 7):
        plan = reset()
        if not run_dying(lambda plan=plan: begin(plan), change):
            break
        state = RunDirectory(image).state()
        if state.status is RunStatus.NONE:
            continue
        back = change % 2 == 0 and not state.committing
        go(plan, back=back)
        assert_same_disk(image, pristine if back else grown)
        undone, finished = undone + back, finished + (not back)
    assert min(undone, finished) >= 3, (undone, finished)
