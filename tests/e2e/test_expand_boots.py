"""The proof: whatever growdisk did to a real Debian guest, it boots as fast and loses nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from growdisk.units import GiB, MiB
from tests.e2e.boot import BootReport, boot, running
from tests.e2e.process import need
from tests.guests.classic import DISK_SIZE, SWAP_SIZE, Guest
from tests.guests.manifest import differences, file_manifest
from tests.unit.cli.command import growdisk

pytestmark = [pytest.mark.boot, pytest.mark.appliance, pytest.mark.timeout(1800)]

GROWDISK = Path(__file__).parents[2] / ".venv/bin/growdisk"
NEW_SIZE = DISK_SIZE + 10 * GiB
REPAIRED = {"/etc/fstab", "/etc/initramfs-tools/conf.d/resume"}
# What its first boot says of a provisioned guest.
QUESTIONS = {
    "hostname": "hostname",
    "machine-id": "cat /etc/machine-id",
    "keys": "ls /etc/ssh/ssh_host_*_key | wc -l",
    "sshd": "systemctl is-active ssh",
    "file": "cat /etc/greeting",
    "shadow": "getent shadow root | cut -d: -f2 | cut -c1-3",
}
GREETING = "kind: {{ kind }}\nhost: {{ hostname }}\n"
PROVISIONED_SIZE = 20 * GiB
CASES = [
    ("drop", "direct"),
    ("move", "uml"),
    ("file", "guestfs"),
    ("drop", "uml"),
    ("drop", "guestfs"),
    ("move", "direct"),
    ("move", "guestfs"),
    ("file", "direct"),
    ("file", "uml"),
]


def test_a_guest_provisioned_from_an_expanded_one_boots_as_the_untouched_one_did(
    classic_base: Guest, classic_copy: Path, untouched_boot: BootReport, tmp_path: Path
) -> None:
    """One boot judges both: the fstab, the initrd and the root are the expanded guest's own."""
    need("direct")
    expanded(classic_base, classic_copy, "drop", "direct")
    out = provisioned(classic_copy, tmp_path)
    info = subprocess.run(["qemu-img", "info", "--output=json", out], capture_output=True).stdout
    assert json.loads(info)["full-backing-filename"] == str(classic_copy)
    with running(out, steady_clock=True) as guest:
        report = guest.wait_for_report()
        said = {name: guest.run(command).strip() for name, command in QUESTIONS.items()}
    judge_boot(report, untouched_boot, "drop", PROVISIONED_SIZE)
    judge_identity(said)


@pytest.mark.slow
@pytest.mark.parametrize(("swap", "backend"), CASES)
def test_an_expanded_guest_boots_as_before_with_its_root_over_the_full_disk(
    swap: str, backend: str, classic_base: Guest, classic_copy: Path, untouched_boot: BootReport
) -> None:
    need(backend)
    expanded(classic_base, classic_copy, swap, backend)
    judge_boot(boot(classic_copy), untouched_boot, swap, NEW_SIZE)


@pytest.mark.slow
def test_a_guest_provisioned_from_the_base_boots_as_it_did(
    classic_base: Guest, untouched_boot: BootReport, tmp_path: Path
) -> None:
    with running(provisioned(classic_base.image, tmp_path), steady_clock=True) as guest:
        report = guest.wait_for_report()
        said = {name: guest.run(command).strip() for name, command in QUESTIONS.items()}
    judge_boot(report, untouched_boot, "drop", PROVISIONED_SIZE)
    judge_identity(said)


def expanded(base: Guest, copy: Path, swap: str, backend: str) -> None:
    result = expand(copy, swap, backend)
    assert result["backend"] == backend
    assert [step["state"] for step in result["steps"]] == ["done"] * len(result["steps"])
    judge_image(copy)
    judge_files(base.image, copy, swap)


def provisioned(base: Path, folder: Path) -> Path:
    """An overlay of the base with everything that a first boot could stumble over."""
    (folder / "greeting").write_text(GREETING)
    (folder / "password").write_text("quite secret\n")
    answer = growdisk(
        "--json", "provision", base, folder / "web.qcow2", "--size", "20G", "--overlay",
        "--hostname", "web-{n}", "--reset-machine-id", "--remove-ssh-host-keys",
        "--password", f"root:file:{folder}/password",
        "--template", f"{folder}/greeting:/etc/greeting", "-e", "kind=red",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    made = answer.json()["outputs"][0]
    assert made["growpart"] == "nothing" and made["backend"] == "direct", made
    assert "quite secret" not in answer.out + answer.err
    return folder / "web.qcow2"


def expand(image: Path, swap: str, backend: str) -> dict:
    done = subprocess.run(
        [GROWDISK, "--json", "expand", image, "+10G", "--swap", swap, "--backend", backend],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def judge_image(image: Path) -> None:
    subprocess.run(["qemu-img", "check", "-q", image], check=True)
    info = json.loads(
        subprocess.run(["qemu-img", "info", "--output=json", image], capture_output=True).stdout
    )
    assert info["virtual-size"] == NEW_SIZE
    assert "snapshots" not in info


def judge_files(before: Path, after: Path, swap: str) -> None:
    """Every file as it was, apart from those that named the swap; with `move` not even those."""
    aside = set() if swap == "move" else {*REPAIRED, *initrds(before)}
    new = {"file": {"/swapfile", "/"}}.get(swap, set())
    assert differences(file_manifest(before), file_manifest(after), aside=aside | new) == []


def initrds(image: Path) -> set[str]:
    return {path for path in file_manifest(image) if path.startswith("/boot/initrd.img")}


def judge_boot(report: BootReport, untouched: BootReport, swap: str, size: int) -> None:
    root = size - (SWAP_SIZE + 2 * MiB if swap == "move" else MiB)
    assert report.disks["sda"] == size
    assert root - MiB <= report.disks["sda1"] <= root
    assert report.root_size > 0.97 * root  # df leaves out the file system's own tables
    assert ("sda5" in report.disks) == (swap == "move")
    assert len(report.swap) == (0 if swap == "drop" else 1)
    assert report.failed_units == report.waits == ()
    assert report.login_seconds < 1.15 * untouched.login_seconds


def judge_identity(said: dict[str, str]) -> None:
    assert said["hostname"] == "web-1" and said["file"].splitlines() == ["kind: red", "host: web-1"]
    assert len(said["machine-id"]) == 32 and int(said["keys"]) >= 3
    assert said["sshd"] == "active" and said["shadow"] == "$y$"
