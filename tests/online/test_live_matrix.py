"""The long matrix: every bus, way inside, swap and snapshot, in a real running guest."""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.live.guest_agent import AgentShell, AgentSocket
from growdisk.units import GiB, MiB
from growdisk.workflow.run_places import record_folder
from tests.e2e.process import Answer, Host, wait_for
from tests.guests.classic import DISK_SIZE, SWAP_SIZE
from tests.guests.tools import run
from tests.online.grown import NEW_SIZE, assert_as_before, assert_boots_clean
from tests.online.inside import assert_nothing_lost, boot_id, sizes, start_writer, swaps
from tests.online.machine import LiveGuest, ssh_config, started, wake_copy

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(2400)]

LEFT = ["image.json", "journal.jsonl", "plan.json", "saved-table.json"]


def grown(answer: Answer) -> None:
    assert (answer.code, answer.result) == (0, "changed"), answer


def test_over_ssh_on_virtio_blk_swap_moves_to_the_end(tmp_path: Path, host: Host) -> None:
    with started(wake_copy("blk", tmp_path), disk="blk", woken=True) as guest:
        boot = boot_id(guest)
        start_writer(guest)
        inside = ("--ssh", "guest", "--ssh-config", ssh_config(guest, tmp_path))
        grown(host.growdisk("expand", guest.image, "+10G", "--swap", "move", *inside))
        seen = sizes(guest)
        assert seen["vda"] == NEW_SIZE
        assert NEW_SIZE - SWAP_SIZE - 4 * MiB <= seen["vda1"] <= NEW_SIZE - SWAP_SIZE
        assert swaps(guest) == ["/dev/vda5"]
        assert boot_id(guest) == boot
        assert_nothing_lost(guest)
        assert host.left_files() == []
        guest.run("systemctl stop writer")
        assert len(assert_boots_clean(guest).swap) == 1


def test_swap_becomes_a_file_that_is_in_use_at_once(scsi_guest: LiveGuest, host: Host) -> None:
    grown(host.growdisk("expand", "--qmp", scsi_guest.sockets.qmp, "+10G", "--swap", "file"))
    assert swaps(scsi_guest) == ["/swapfile"]
    assert sizes(scsi_guest)["sda1"] == NEW_SIZE - MiB
    assert len(assert_boots_clean(scsi_guest).swap) == 1


@pytest.mark.parametrize("bus", ["scsi", "blk", "ide", "sata", "usb"])
def test_a_new_size_is_seen_at_once_on_virtio_alone(tmp_path: Path, bus: str) -> None:
    with started(wake_copy(bus, tmp_path), disk=bus, woken=True) as guest:
        name = "vda" if bus == "blk" else "sda"
        assert sizes(guest)[name] == DISK_SIZE
        with guest.monitor() as machine:
            machine.resize(machine.disks()[0].key, NEW_SIZE)
            assert machine.disks()[0].size == NEW_SIZE
        guest.run("sleep 5; udevadm settle", 600)
        assert sizes(guest)[name] == (NEW_SIZE if bus in ("scsi", "blk") else DISK_SIZE)


@pytest.mark.parametrize("bus", ["ide", "sata", "usb"])
def test_a_disk_on_ide_sata_or_usb_takes_one_announced_restart_or_is_refused(
    tmp_path: Path, host: Host, bus: str
) -> None:
    with started(wake_copy(bus, tmp_path), disk=bus, woken=True) as guest:
        refused = host.growdisk("expand", guest.image, "+10G", "--online", "agent")
        assert (refused.code, "--allow-reboot" in str(refused.error["do"])) == (3, True), refused
        boot = boot_id(guest)
        words = (guest.image, "+10G", "--online", "agent", "--allow-reboot")
        assert "restarts once" in str(host.growdisk("plan", *words).document["notes"])
        answer = host.growdisk("expand", *words)
        grown(answer)
        guest.wait_for_report()  # of the one restart
        assert boot_id(guest) != boot
        assert sizes(guest)["sda1"] == NEW_SIZE - MiB
        assert guest.console_text.count(b"GROWDISK-BOOT-REPORT") == 1


@pytest.mark.parametrize("snapshots", ["auto", "overlay"])
def test_a_raw_image_grows_live(
    classic_copy: Path, tmp_path: Path, host: Host, snapshots: str
) -> None:
    raw = tmp_path / "guest.raw"
    run("qemu-img", "convert", "-O", "raw", classic_copy, raw)
    with started(raw, "raw") as guest:
        guest.wait_for_report()
        start_writer(guest)
        answer = host.growdisk(
            "expand", "--qmp", guest.sockets.qmp, "+10G", "--snapshots", snapshots
        )
        grown(answer)
        assert answer.document["snapshots"] == ("none" if snapshots == "auto" else "overlay")
        assert sizes(guest)["sda1"] == NEW_SIZE - MiB
        with guest.monitor() as machine:
            assert machine.disks()[0].file == str(raw)
        assert_nothing_lost(guest)
        guest.run("systemctl stop writer; sync")
        guest.power_off()
    assert sorted(p.name for p in record_folder(tmp_path / "guest.raw").iterdir()) == LEFT
    assert raw.stat().st_size == NEW_SIZE


def test_overlays_are_merged_while_a_writer_goes_on(scsi_guest: LiveGuest, host: Host) -> None:
    guest = scsi_guest
    start_writer(guest)
    answer = host.growdisk(
        "expand", guest.image, "+10G", "--online", "agent", "--snapshots", "overlay"
    )
    grown(answer)
    assert sizes(guest)["sda1"] == NEW_SIZE - MiB
    with guest.monitor() as machine:
        assert machine.disks()[0].file == str(guest.image)
    frozen = guest.run("journalctl --no-pager -o cat | grep -c 'guest-fsfreeze called' || :", 600)
    assert int(frozen) >= len(answer.document["steps"]), frozen
    assert_nothing_lost(guest)
    run_folder = record_folder(guest.image)
    assert sorted(path.name for path in run_folder.iterdir()) == LEFT


def test_a_growdisk_killed_while_overlays_are_merged_is_finished_by_resume(
    scsi_guest: LiveGuest, host: Host
) -> None:
    guest = scsi_guest
    start_writer(guest)
    command = host.start("expand", "--qmp", guest.sockets.qmp, "+10G", "--snapshots", "overlay")
    wait_for(command, guest.image, "settling")
    command.kill()
    grown(host.growdisk("resume", guest.image))
    with guest.monitor() as machine:
        assert (machine.disks()[0].file, machine.busy()) == (str(guest.image), "")
    assert sizes(guest)["sda1"] == NEW_SIZE - MiB
    assert_nothing_lost(guest)
    assert sorted(path.name for path in record_folder(guest.image).iterdir()) == LEFT


def test_overlays_survive_a_power_cut_and_are_thrown_away_or_kept_while_the_guest_is_off(
    tmp_path: Path, host: Host
) -> None:
    with started(wake_copy("scsi", tmp_path), woken=True) as guest:
        command = host.start("expand", "--qmp", guest.sockets.qmp, "+10G", "--snapshots", "overlay")
        wait_for(command, guest.image, "verified", "rewrite-partitions")
        command.kill()
        refused = host.growdisk("rollback", guest.image)
        assert (refused.code, "shut the guest down" in str(refused.error["do"])) == (5, True), (
            refused
        )
        guest.pull_the_plug()
    with started(guest.image, woken=True) as past:
        for verb in ("resume", "commit"):
            wrong = host.growdisk(verb, guest.image)
            assert (wrong.code, "newest data" in str(wrong.error["what"])) == (5, True), wrong
            assert f"growdisk commit --force {guest.image}" in str(wrong.error["do"])
        assert sizes(past)["sda"] == DISK_SIZE
    back = host.growdisk("rollback", guest.image)
    assert (back.code, back.result) == (0, "restored"), back
    with started(guest.image, woken=True) as again:
        assert_as_before(again)


def test_a_guest_that_a_growdisk_left_frozen_is_thawed_by_resume(
    scsi_guest: LiveGuest, host: Host
) -> None:
    guest = scsi_guest
    command = host.start("expand", "--qmp", guest.sockets.qmp, "+10G", "--snapshots", "overlay")
    wait_for(command, guest.image, "verified", "resize-image")
    command.kill()
    with closing(AgentSocket.connect(guest.sockets.agent)) as channel:
        assert AgentShell(channel.call, channel.close).freeze()
    grown(host.growdisk("resume", guest.image))
    assert sizes(guest)["sda1"] == NEW_SIZE - MiB


def test_without_snapshots_a_run_is_taken_back_until_the_file_system_has_grown(
    scsi_guest: LiveGuest, host: Host
) -> None:
    guest = scsi_guest
    start_writer(guest)
    words: tuple[str | Path, ...] = (
        "expand",
        "--qmp",
        guest.sockets.qmp,
        "+10G",
        "--snapshots",
        "none",
    )
    command = host.start(*words)
    wait_for(command, guest.image, "verified", "reread-partitions")
    command.kill()
    back = host.growdisk("rollback", guest.image)
    assert (back.code, back.result) == (0, "restored"), back
    assert_as_before(guest)
    command = host.start(*words)
    wait_for(command, guest.image, "applied", "grow-filesystem")
    command.kill()
    stuck = host.growdisk("rollback", guest.image)
    assert (stuck.code, stuck.result) == (5, "stuck"), stuck
    grown(host.growdisk("resume", guest.image))
    assert sizes(guest)["sda1"] == NEW_SIZE - MiB
    assert_nothing_lost(guest)


@pytest.mark.parametrize(
    ("step", "snapshots"), [("rewrite-partitions", "none"), ("grow-filesystem", "internal")]
)
@pytest.mark.parametrize("way", ["agent", "ssh"])
def test_ctrl_c_takes_the_run_back_while_the_guest_runs(
    scsi_guest: LiveGuest, host: Host, tmp_path: Path, step: str, snapshots: str, way: str
) -> None:
    """A terminal interrupts growdisk and its ssh; what ssh started in the guest still ends."""
    guest, first = scsi_guest, boot_id(scsi_guest)
    inside = ("--ssh", "guest", "--ssh-config", ssh_config(guest, tmp_path)) if way == "ssh" else ()
    command = host.start(
        "expand", "--qmp", guest.sockets.qmp, "+10G", "--snapshots", snapshots, *inside
    )
    wait_for(command, guest.image, "applying", step)
    command.signal(signal.SIGINT, group=True)
    answer = command.ended(1200)
    assert (answer.code, answer.result) == (4, "restored"), answer
    assert "SIGINT" in str(answer.error["what"]), answer
    assert_as_before(guest)
    assert boot_id(guest) == first
    assert host.left_files() == []


@pytest.mark.parametrize(
    "step", ["rewrite-partitions", "reread-partitions", "grow-filesystem", "repair-guest"]
)
def test_a_power_cut_in_a_step_then_a_boot_and_resume_finish_it(
    scsi_guest: LiveGuest, host: Host, step: str
) -> None:
    command = host.start("expand", "--qmp", scsi_guest.sockets.qmp, "+10G")
    wait_for(command, scsi_guest.image, "applying", step)
    scsi_guest.run("sleep 2; true")
    scsi_guest.pull_the_plug()
    cut = command.ended()
    assert (cut.code, "growdisk resume" in str(cut.error["do"])) == (5, True), cut
    with started(scsi_guest.image) as guest:
        guest.wait_for_report()
        grown(host.growdisk("resume", guest.image))
        assert sizes(guest)["sda1"] == DISK_SIZE + 10 * GiB - MiB
        assert_boots_clean(guest, leaks=True)
