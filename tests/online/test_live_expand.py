"""A running Debian guest grows at once, without a restart, and loses nothing it writes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from growdisk.units import GiB, MiB
from growdisk.workflow.run_places import record_folder
from tests.e2e.process import Host, wait_for
from tests.guests.classic import DISK_SIZE
from tests.online.grown import (
    NEW_SIZE,
    OLD_ROOT,
    STEPS,
    assert_as_before,
    assert_boots_clean,
    assert_grown,
)
from tests.online.inside import assert_nothing_lost, boot_id, sizes, start_writer
from tests.online.machine import BOOTED, LiveGuest

pytestmark = [pytest.mark.boot, pytest.mark.timeout(1800)]


def test_the_running_guest_grows_without_a_restart_and_boots_clean_afterwards(
    scsi_guest: LiveGuest, host: Host
) -> None:
    guest, first = scsi_guest, boot_id(scsi_guest)
    start_writer(guest)
    answer = host.growdisk("expand", "--qmp", guest.sockets.qmp, "+10G")
    assert_grown(answer, guest)
    for line in ("prepare: swap on /dev/sda5 is off", "grow: + resize2fs /dev/sda1"):
        assert f"   . {line}" in answer.said.splitlines()
    assert boot_id(guest) == first
    saved = json.loads(record_folder(guest.image).joinpath("saved-table.json").read_text())
    # the MBR, and that of the extended one
    assert [piece["hex"][-4:] for piece in saved["sectors"]] == ["55aa"] * 2
    assert_nothing_lost(guest)
    assert host.growdisk("expand", guest.image, "--online", "agent").result == "nochange"
    guest.run("systemctl stop writer")
    assert_boots_clean(guest)


@pytest.mark.slow
def test_a_kept_run_goes_back_to_a_step_forward_again_and_all_the_way_back(
    scsi_guest: LiveGuest, host: Host
) -> None:
    guest, first = scsi_guest, boot_id(scsi_guest)
    assert (
        host.growdisk("expand", guest.image, "+10G", "--online", "agent", "--keep-snapshots").code
        == 0
    )
    status = host.growdisk("status", "--qmp", guest.sockets.qmp).document
    assert (status["state"], status["next"]) == ("kept", ["rollback", "commit"])

    back = host.growdisk("rollback", guest.image, "--to", "grow-filesystem")
    assert (back.code, back.result) == (0, "restored"), back
    seen = sizes(guest)
    assert (seen["sda"], seen["sda1"]) == (NEW_SIZE, NEW_SIZE - MiB)
    assert seen["/"] < OLD_ROOT

    assert host.growdisk("resume", guest.image).result == "changed"
    assert sizes(guest)["/"] > 12 * GiB
    whole = host.growdisk("rollback", guest.image)
    assert (whole.code, whole.result) == (0, "restored"), whole
    assert_as_before(guest)
    assert boot_id(guest) == first


@pytest.mark.slow
def test_a_run_killed_in_every_step_is_finished_by_resume_and_costs_the_guest_nothing(
    scsi_guest: LiveGuest, host: Host
) -> None:
    guest = scsi_guest
    start_writer(guest)
    words: tuple[str | Path, ...] = ("expand", "--qmp", guest.sockets.qmp, "+10G")
    for step in STEPS:
        command = host.start(*words)
        wait_for(command, guest.image, "applying", step)
        command.kill()
        words = ("resume", guest.image)
    assert_grown(host.growdisk(*words), guest)
    assert_nothing_lost(guest)


@pytest.mark.slow
def test_a_run_killed_before_the_file_system_grew_is_taken_back_without_loss(
    scsi_guest: LiveGuest, host: Host
) -> None:
    guest = scsi_guest
    start_writer(guest)
    command = host.start("expand", "--qmp", guest.sockets.qmp, "+10G")
    wait_for(command, guest.image, "verified", "reread-partitions")
    command.kill()
    answer = host.growdisk("rollback", guest.image)
    assert (answer.code, answer.result) == (0, "restored"), answer
    assert_as_before(guest)
    assert_nothing_lost(guest)


# Micro guests lose their power in each quick run: tests/guest_scripts/test_power_cuts.py.
@pytest.mark.slow
def test_a_guest_whose_power_was_cut_is_taken_back_while_it_is_off(
    scsi_guest: LiveGuest, host: Host
) -> None:
    guest = scsi_guest
    command = host.start("expand", "--qmp", guest.sockets.qmp, "+10G")
    wait_for(command, guest.image, "applied", "rewrite-partitions")
    command.kill()
    guest.pull_the_plug()
    refused = host.growdisk("resume", guest.image)
    assert (refused.code, refused.error["what"]) == (3, f"the guest of {guest.image} is off")
    answer = host.growdisk("rollback", guest.image)
    assert (answer.code, answer.result) == (0, "restored"), answer
    assert _qemu_img(guest.image)["virtual-size"] == DISK_SIZE
    assert [s["name"] for s in _qemu_img(guest.image)["snapshots"]] == [BOOTED]
    subprocess.run(["qemu-img", "check", "-q", guest.image], check=True)


def _qemu_img(image: Path) -> dict:
    shown = subprocess.run(
        ["qemu-img", "info", "--output=json", image], capture_output=True, check=True
    ).stdout
    return json.loads(shown)
