"""A provisioned guest's first boot, on real Debian: name, size, keys, as fast as the base."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from growdisk.units import GiB, MiB
from tests.e2e.boot import BootReport, running
from tests.guests.classic import DISK_SIZE, Guest
from tests.unit.cli.command import growdisk

pytestmark = [pytest.mark.boot, pytest.mark.timeout(1800)]

SIZE = 10 * GiB
GREETING = "kind: {{ kind }}\nhost: {{ hostname }}\n"
QUESTIONS = {
    "hostname": "hostname",
    "machine-id": "cat /etc/machine-id",
    "keys": "ls /etc/ssh/ssh_host_*_key | wc -l",
    "sshd": "systemctl is-active ssh",
    "file": "cat /etc/greeting",
    "shadow": "getent shadow root | cut -d: -f2 | cut -c1-3",
}


def test_a_provisioned_guest_boots_with_its_own_name_and_full_size_as_fast_as_the_base(
    classic_base: Guest, untouched_boot: BootReport, tmp_path: Path
) -> None:
    out = provisioned(classic_base.image, tmp_path)
    assert json.loads(
        subprocess.run(["qemu-img", "info", "--output=json", out], capture_output=True).stdout
    )["full-backing-filename"] == str(classic_base.image)
    with running(out, steady_clock=True) as guest:
        report = guest.wait_for_report()
        said = {name: guest.run(command).strip() for name, command in QUESTIONS.items()}
    assert report.disks["sda"] == SIZE and SIZE - 2 * MiB <= report.disks["sda1"] <= SIZE - MiB
    assert report.root_size > 0.97 * SIZE > DISK_SIZE
    assert said["hostname"] == "web-1" and said["file"].splitlines() == ["kind: red", "host: web-1"]
    assert len(said["machine-id"]) == 32 and int(said["keys"]) >= 3
    assert said["sshd"] == "active" and said["shadow"] == "$y$"
    assert report.failed_units == report.waits == ()
    assert report.login_seconds < 1.15 * untouched_boot.login_seconds


def provisioned(base: Path, folder: Path) -> Path:
    """An overlay of the base with everything that a first boot could stumble over."""
    (folder / "greeting").write_text(GREETING)
    (folder / "password").write_text("quite secret\n")
    answer = growdisk(
        "--json", "provision", base, folder / "web.qcow2", "--size", "10G", "--overlay",
        "--hostname", "web-{n}", "--reset-machine-id", "--remove-ssh-host-keys",
        "--password", f"root:file:{folder}/password",
        "--template", f"{folder}/greeting:/etc/greeting", "-e", "kind=red",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    made = answer.json()["outputs"][0]
    assert made["growpart"] == "nothing" and made["backend"] == "direct", made
    assert "quite secret" not in answer.out + answer.err
    return folder / "web.qcow2"
