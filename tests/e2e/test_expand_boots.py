"""The proof: a real Debian guest is expanded, boots as fast as before, and loses nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from growdisk.units import GiB, MiB
from tests.e2e.boot import BootReport, boot
from tests.e2e.process import need
from tests.guests.classic import DISK_SIZE, SWAP_SIZE, Guest
from tests.guests.manifest import differences, file_manifest

pytestmark = [pytest.mark.boot, pytest.mark.appliance, pytest.mark.timeout(1800)]

GROWDISK = Path(__file__).parents[2] / ".venv/bin/growdisk"
NEW_SIZE = DISK_SIZE + 10 * GiB
REPAIRED = {"/etc/fstab", "/etc/initramfs-tools/conf.d/resume"}
ROOT_SIZES = {
    "drop": NEW_SIZE - MiB,
    "move": NEW_SIZE - SWAP_SIZE - 2 * MiB,
    "file": NEW_SIZE - MiB,
}


QUICK = [("drop", "direct")]
REST = [
    ("move", "uml"),
    ("file", "guestfs"),
    ("drop", "uml"),
    ("drop", "guestfs"),
    ("move", "direct"),
    ("move", "guestfs"),
    ("file", "direct"),
    ("file", "uml"),
]


@pytest.mark.parametrize(
    ("swap", "backend"), [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in REST)]
)
def test_an_expanded_guest_boots_as_before_with_its_root_over_the_full_disk(
    swap: str, backend: str, classic_base: Guest, classic_copy: Path, untouched_boot: BootReport
) -> None:
    need(backend)
    result = expand(classic_copy, swap, backend)
    assert result["backend"] == backend
    assert [step["state"] for step in result["steps"]] == ["done"] * len(result["steps"])
    judge_image(classic_copy)
    judge_files(classic_base.image, classic_copy, swap)
    report = boot(classic_copy)
    judge_disk(report, swap)
    assert report.failed_units == report.waits == ()
    assert report.login_seconds < 1.15 * untouched_boot.login_seconds
    assert len(report.swap) == (0 if swap == "drop" else 1)


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


def judge_disk(report: BootReport, swap: str) -> None:
    root = ROOT_SIZES[swap]
    assert report.disks["sda"] == NEW_SIZE
    assert root - MiB <= report.disks["sda1"] <= root
    assert report.root_size > 0.97 * root  # df leaves out the file system's own tables
    assert ("sda5" in report.disks) == (swap == "move")
