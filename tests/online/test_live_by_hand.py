"""Scripts carried by hand, broken connections, the way back: in a real running guest."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from growdisk.units import GiB, MiB
from tests.e2e.process import Host, wait_for
from tests.guests.content import text, write_tar
from tests.online.cut_line import line_to
from tests.online.grown import (
    NEW_SIZE,
    OLD_ROOT,
    STEPS,
    assert_as_before,
    assert_boots_clean,
    assert_grown,
)
from tests.online.inside import assert_nothing_lost, boot_id, sizes, start_writer, swaps
from tests.online.machine import LiveGuest, ssh_config, started, wake_copy
from tests.online.more_disks import attach

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(2400)]

_PATIENCE = 900.0


def carry_over(guest: LiveGuest, host: Host, folder: Path, driver: str, device: str) -> None:
    """Put the scripts of `growdisk script` into the guest's /root/scripts, and grow its disk."""
    written = host.growdisk("script", "--qmp", guest.sockets.qmp, "+10G", "-o", folder / "out")
    assert (written.code, written.result) == (0, "written"), written
    scripts = [
        text(path.name, path.read_text(), 0o755) for path in sorted((folder / "out").iterdir())
    ]
    attach(guest, "scripts", write_tar(folder / "scripts.tar", scripts), "raw", driver)
    with guest.monitor() as machine:
        machine.resize(machine.disks()[0].key, NEW_SIZE)
    guest.run(
        f"until [ -b {device} ]; do sleep 0.2; done; mkdir /root/scripts; tar -xf {device} -C "
        "/root/scripts; sync",
        _PATIENCE,
    )


def test_scripts_carried_over_by_hand_grow_the_guest_without_a_restart(
    scsi_guest: LiveGuest, host: Host, tmp_path: Path
) -> None:
    guest, first = scsi_guest, boot_id(scsi_guest)
    start_writer(guest)
    carry_over(guest, host, tmp_path, "scsi-hd", "/dev/sdb")
    said = json.loads(guest.run("sh /root/scripts/growdisk-run.sh 2>/dev/null", _PATIENCE))
    assert (said["phase"], said["result"]) == ("verify", "done")
    assert sizes(guest)["/"] > NEW_SIZE - GiB
    assert (swaps(guest), boot_id(guest)) == ([], first)
    assert_nothing_lost(guest)
    guest.run("systemctl stop writer")
    assert_boots_clean(guest)


def test_where_the_guest_has_to_restart_systemd_goes_on_with_it_and_forgets_it(
    tmp_path: Path, host: Host
) -> None:
    with started(wake_copy("ide", tmp_path), disk="ide", woken=True) as guest:
        carry_over(guest, host, tmp_path, "virtio-blk-pci", "/dev/vda")
        said = guest.run(
            "sh /root/scripts/growdisk-run.sh 2>/dev/null || echo $?", _PATIENCE
        ).split("\n")
        answer = json.loads(said[0])
        assert (answer["result"], answer["facts"]["arranged"], said[1]) == ("reboot", True, "10")
        guest.run(
            "systemctl is-enabled growdisk-continue || test -L "
            "/etc/systemd/system/*/growdisk-continue.service"
        )
        guest.run("(sleep 1; systemctl reboot) >/dev/null 2>&1 & true")
        guest.wait_for_report()
        guest.run(
            f"until [ -e /var/lib/growdisk/{answer['run']}/finished ]; do sleep 1; done", _PATIENCE
        )
        assert sizes(guest)["sda1"] == NEW_SIZE - MiB
        assert guest.run("find /etc/systemd -name '*growdisk*'", _PATIENCE) == ""
        assert_boots_clean(guest)


def test_a_line_that_is_cut_in_a_step_costs_nothing_and_the_next_run_succeeds(
    tmp_path: Path, host: Host
) -> None:
    with (
        started(wake_copy("scsi", tmp_path), woken=True) as guest,
        line_to(guest.sockets.ssh_port) as line,
    ):
        start_writer(guest)
        config = ssh_config(guest, tmp_path)
        config.write_text(
            config.read_text().replace(f"Port {guest.sockets.ssh_port}", f"Port {line.port}")
        )
        words = (
            "expand", guest.image, "+10G", "--snapshots", "none", "--ssh", "guest",
            "--ssh-config", config,
        )  # fmt: skip
        command = host.start(*words)
        wait_for(command, guest.image, "applying", "rewrite-partitions")
        time.sleep(1)
        assert line.cut() > 0
        answer = command.ended(1800)
        assert (answer.code, answer.result) == (4, "restored"), answer
        assert "ssh guest" in str(answer.error["what"]) + str(answer.error["why"])
        assert_as_before(guest)
        assert_grown(host.growdisk(*words), guest)
        assert_nothing_lost(guest)


def test_an_agent_that_falls_silent_in_a_step_costs_nothing(
    scsi_guest: LiveGuest, host: Host
) -> None:
    guest = scsi_guest
    start_writer(guest)
    command = host.start("expand", "--qmp", guest.sockets.qmp, "+10G", "--snapshots", "none")
    wait_for(command, guest.image, "verified", "resize-image")
    guest.run("pkill -STOP qemu-ga", _PATIENCE)
    answer = command.ended(1800)
    assert (answer.code, answer.result) == (5, "stuck"), answer
    refused = host.growdisk("resume", guest.image)
    assert refused.code == 3, refused
    assert "nobody in the guest answers" in str(refused.error["why"]), refused
    guest.run("pkill -CONT qemu-ga", _PATIENCE)
    back = host.growdisk("rollback", guest.image)
    assert (back.code, back.result) == (0, "restored"), back
    assert_as_before(guest)
    assert_nothing_lost(guest)


def test_a_kept_run_goes_back_step_by_step(scsi_guest: LiveGuest, host: Host) -> None:
    guest = scsi_guest
    assert host.growdisk("expand", "--qmp", guest.sockets.qmp, "+10G", "--keep-snapshots").code == 0
    for step in reversed(STEPS):
        back = host.growdisk("rollback", guest.image, *([] if step == STEPS[0] else ["--to", step]))
        assert (back.code, back.result) == (0, "restored"), (step, back)
        seen, after = sizes(guest), STEPS.index(step)
        assert (seen["/"] > OLD_ROOT) == (after > STEPS.index("grow-filesystem"))
        assert (seen["sda1"] > OLD_ROOT) == (after > STEPS.index("reread-partitions"))
        assert (seen["sda"] == NEW_SIZE) == (after > STEPS.index("resize-image"))
    assert_as_before(guest)
