"""Guests that start by other means than GRUB do so after their swap was given up, and wait for nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.boot import running
from tests.e2e.conftest import host
from tests.e2e.process import Host
from tests.guests.families import SWAP_UUID, family_guests

pytestmark = [pytest.mark.boot, pytest.mark.appliance, pytest.mark.slow, pytest.mark.timeout(1800)]
__all__ = ["host"]


@pytest.mark.parametrize("name", ["uki", "subvolume", "dracut", "entries"])
def test_a_guest_of_another_family_starts_without_waiting_for_its_old_swap(
    tmp_path: Path, host: Host, name: str
) -> None:
    image = tmp_path / "guest.qcow2"
    shutil.copyfile(family_guests() / f"{name}.qcow2", image)
    answer = host.growdisk("expand", image, "+1G")
    assert (answer.code, answer.result) == (0, "changed"), answer
    with running(image, steady_clock=True, uefi=True) as guest:
        report = guest.wait_for_report()
    assert report.failed_units == report.waits == report.swap == ()
    assert SWAP_UUID not in report.command_line
