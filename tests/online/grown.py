"""What is true of a running Debian guest that was grown, or taken back."""

from __future__ import annotations

import subprocess

from growdisk.units import GiB, MiB
from tests.e2e.boot import BootReport, boot
from tests.e2e.process import Answer
from tests.guests.classic import DISK_SIZE, SWAP_SIZE, TABLE
from tests.online.inside import sizes, swaps
from tests.online.machine import BOOTED, LiveGuest

NEW_SIZE = DISK_SIZE + 10 * GiB


_LEAKS = 3  # of qemu-img check


OLD_ROOT = TABLE.parts[0].place.length


STEPS = [
    "resize-image",
    "rewrite-partitions",
    "reread-partitions",
    "grow-filesystem",
    "repair-guest",
]


def assert_grown(answer: Answer, guest: LiveGuest) -> None:
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert [step["name"] for step in answer.document["steps"]] == STEPS
    seen = sizes(guest)
    assert (seen["sda"], seen["sda1"]) == (NEW_SIZE, NEW_SIZE - MiB)
    assert seen["/"] > NEW_SIZE - GiB
    assert swaps(guest) == []
    with guest.monitor() as machine:
        assert machine.disks()[0].snapshots == (BOOTED,)


def assert_as_before(guest: LiveGuest) -> None:
    seen = sizes(guest)
    assert (seen["sda"], seen["sda1"]) == (DISK_SIZE, OLD_ROOT)
    assert seen["/"] < OLD_ROOT
    assert swaps(guest) == ["/dev/sda5"]
    with guest.monitor() as machine:
        assert machine.disks()[0].snapshots == (BOOTED,)
        assert machine.status() == "running"


def assert_boots_clean(guest: LiveGuest, kind: str = "qcow2", *, leaks: bool = False) -> BootReport:
    """Shut down and started anew, by a clock that a busy host does not hurry.

    `leaks`: a QEMU that was killed leaves clusters that nobody uses.
    """
    guest.power_off(600)
    report = boot(guest.image, kind)
    assert (report.failed_units, report.waits) == ((), ())
    assert NEW_SIZE - SWAP_SIZE - 4 * MiB <= report.disks["sda1"] < NEW_SIZE
    if kind == "qcow2":
        checked = subprocess.run(["qemu-img", "check", "-q", guest.image])
        assert checked.returncode in ((0, _LEAKS) if leaks else (0,)), checked
    return report
