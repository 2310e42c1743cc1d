"""Two disks of a guest grow in one plan: both or neither, whatever happens."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.conftest import DiskMaker
from tests.e2e.dying import Death, die
from tests.e2e.judges import Before, assert_grown, assert_unchanged, sfdisk, virtual_size
from tests.e2e.process import Answer, Host, need, wait_for
from tests.guests.layouts import Layout
from tests.guests.manifest import as_raw
from tests.guests.small import SmallDisk

pytestmark = pytest.mark.appliance

Guest = tuple[Path, Before, Path, Before]


@pytest.fixture
def guest(small_disk: DiskMaker) -> Guest:
    """The classic layout, with internal snapshots; and a data disk without swap, with overlays."""
    root = small_disk("root.qcow2", SmallDisk(size=128 * MiB, swap_size=16 * MiB))
    data = small_disk("data.raw", SmallDisk(Layout.PLAIN, size=96 * MiB, image_format="raw"))
    return root, Before.of(root), data, Before.of(data, "raw")


def step_names(answer: Answer) -> list[str]:
    steps = answer.document["steps"]
    assert isinstance(steps, list)
    return [step["name"] for step in steps]


@pytest.mark.parametrize("backend", ["direct", "uml"])
def test_both_disks_grow_and_go_back_to_any_step(guest: Guest, host: Host, backend: str) -> None:
    host.backend = backend
    root, root_before, data, data_before = guest
    planned = host.growdisk("plan", root, "+200M", "--with", f"{data}=+100M")
    assert planned.code == 0
    (other,) = planned.document["others"]
    assert other["after"]["image"]["virtual_size"] == 196 * MiB
    answer = host.growdisk("expand", root, "+200M", "--with", f"{data}=+100M", "--keep-snapshots")
    assert (answer.code, answer.result) == (0, "changed"), answer
    own = ["resize-image", "rewrite-partitions", "reread-partitions", "grow-filesystem"]
    assert step_names(answer) == [*own, "repair-guest", *(f"{name}-sdb" for name in own)]
    (other,) = answer.document["others"]
    assert other["after"]["partitions"][0]["content"]["size"] > 190 * MiB
    assert other["after"]["partitions"][0]["name"] == "sdb1"
    assert "sdb1 95.0 MiB -> 195.0 MiB" in str(answer.document["steps"])
    back = host.growdisk("rollback", root, "--to", "resize-image-sdb")
    assert (back.code, back.result) == (0, "restored"), back
    assert virtual_size(data) == 96 * MiB
    again = host.growdisk("resume", data)
    assert (again.code, again.result) == (0, "changed"), again
    back = host.growdisk("rollback", data)
    assert (back.code, back.result) == (0, "restored"), back
    assert_unchanged(root, root_before)
    assert_unchanged(data, data_before)
    done = host.growdisk("expand", root, "+200M", "--with", f"{data}=+100M")
    assert (done.code, done.result) == (0, "changed"), done
    assert_grown(root, root_before)
    assert_grown(data, data_before)
    again = host.growdisk("expand", root, "--with", data, "--grow", "sdb1=rest")
    assert (again.code, again.result) == (0, "nochange"), again
    host.assert_quiet()


@pytest.mark.parametrize("forward", [True, False], ids=["resume", "rollback"])
@pytest.mark.parametrize(
    "death",
    [Death("applying", "rewrite-partitions", 0.01), Death("applying", "grow-filesystem-sdb", 0.03)],
    ids=lambda death: str(death),
)
def test_killed_on_either_disk_both_are_finished_or_undone(
    guest: Guest, host: Host, death: Death, forward: bool
) -> None:
    need("direct")
    host.backend = "direct"
    root, root_before, data, data_before = guest
    die(host, root, death, "expand", root, "+200M", "--with", f"{data}=+100M")
    answer = host.growdisk("resume" if forward else "rollback", root)
    assert answer.code == 0, answer
    if forward:
        assert_grown(root, root_before)
        assert_grown(data, data_before)
    else:
        assert_unchanged(root, root_before)
        assert_unchanged(data, data_before)


def test_a_failure_on_the_second_disk_takes_the_first_back(guest: Guest, host: Host) -> None:
    """The second disk's file system has lost its root directory: nothing can grow that."""
    need("direct")
    host.backend = "direct"
    root, root_before, data, _ = guest
    # descriptors, bitmaps and tables of the first group, not the superblock
    with data.open("r+b") as file:
        file.seek(MiB + 4096)
        file.write(b"\xa5" * 800_000)
    answer = host.growdisk("expand", root, "+200M", "--with", f"{data}=+100M")
    assert answer.code == 4 and answer.result == "restored", answer
    assert "grow-filesystem-sdb" in str(answer.error["what"]), answer
    assert_unchanged(root, root_before)
    assert virtual_size(data) == 96 * MiB


def test_shares_name_partitions_of_several_disks(guest: Guest, host: Host) -> None:
    need("direct")
    host.backend = "direct"
    root, _, data, _ = guest
    options = ("--grow", "sda1=60%", "--grow", "sdb1=25%")
    answer = host.growdisk("expand", root, "+200M", "--with", f"{data}=+100M", *options)
    assert (answer.code, answer.result) == (0, "changed"), answer
    with as_raw(root, "qcow2") as raw:
        sizes = [int(str(part["size"])) // 2048 for part in sfdisk(raw)]
    assert sizes[0] == pytest.approx(110 + 0.6 * 216, abs=8)
    assert int(str(sfdisk(data)[0]["size"])) // 2048 == pytest.approx(95 + 25, abs=1)
    wrong = host.growdisk("plan", root, "+200M", "--with", f"{data}=+100M", "--grow", "sdc1=60%")
    assert wrong.code == 2 and "--with" in str(wrong.error["do"]), wrong


def test_swap_on_the_second_disk_is_not_given_up_behind_its_guests_back(
    small_disk: DiskMaker, host: Host
) -> None:
    root = small_disk("root.qcow2", SmallDisk(size=64 * MiB, swap_size=8 * MiB))
    data = small_disk("data.qcow2", SmallDisk(size=64 * MiB, swap_size=8 * MiB))
    refused = host.growdisk("plan", root, "+64M", "--with", f"{data}=+64M")
    assert refused.code == 3 and "on another disk" in str(refused.error["why"]), refused
    moved = host.growdisk("plan", root, "+64M", "--with", f"{data}=+64M", "--swap", "move")
    assert moved.code == 0 and "remake-swap-sdb" in step_names(moved), moved


def test_ctrl_c_on_the_second_disk_takes_both_back(guest: Guest, host: Host) -> None:
    root, root_before, data, data_before = guest
    host.backend = "guestfs"
    command = host.start("expand", root, "+200M", "--with", f"{data}=+100M")
    wait_for(command, root, "applying", "reread-partitions-sdb")
    command.process.send_signal(signal.SIGINT)
    started = time.monotonic()
    answer = command.ended()
    assert time.monotonic() - started < 30
    assert answer.result == "restored", answer
    assert_unchanged(root, root_before)
    assert_unchanged(data, data_before)
    host.assert_quiet()
