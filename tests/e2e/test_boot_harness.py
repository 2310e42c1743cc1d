"""The measure of every boot test: an untouched guest does not wait, and a spoiled one does."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.e2e.boot import BootReport, boot, running
from tests.guests.classic import TABLE, Guest
from tests.guests.tools import run

pytestmark = [pytest.mark.boot, pytest.mark.timeout(1800)]


def test_the_untouched_guest_reaches_login_with_root_and_swap(untouched_boot: BootReport) -> None:
    root = TABLE.parts[0].place.length
    assert untouched_boot.disks["sda1"] == root
    assert untouched_boot.root_size > root - 160 * MiB
    assert len(untouched_boot.swap) == 1
    assert untouched_boot.failed_units == untouched_boot.waits == ()


@pytest.mark.slow
def test_a_swap_that_is_gone_from_the_table_alone_makes_the_boot_wait(
    classic_base: Guest, untouched_boot: BootReport, tmp_path: Path
) -> None:
    disk = tmp_path / "spoiled.raw"
    run("qemu-img", "convert", "-O", "raw", classic_base.image, disk)
    run("sfdisk", "-q", "--delete", disk, "2")
    spoiled = boot(disk, "raw")
    assert any("suspend/resume" in line for line in spoiled.waits)
    assert any("Timed out waiting for device" in line for line in spoiled.waits)
    assert spoiled.login_seconds > 3 * untouched_boot.login_seconds


@pytest.mark.slow
def test_a_running_guest_takes_commands_and_an_orderly_end(classic_copy: Path) -> None:
    with running(classic_copy, keep_writes=True) as guest:
        guest.wait_for_report()
        assert guest.run("id -u").strip() == "0"
        guest.run("echo kept > /root/kept")
        guest.power_off()
    with running(classic_copy) as guest:
        guest.wait_for_report()
        assert guest.run("cat /root/kept").strip() == "kept"
