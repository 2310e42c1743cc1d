"""Debian guests of other layouts start after they were expanded, and have lost nothing.

make test boots the two that tell most: the cloud layout by UEFI, and LVM inside LUKS with its
passphrase typed at the console. The others are for make test-slow.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from growdisk.units import GiB, MiB
from tests.e2e.boot import BootReport, running
from tests.e2e.conftest import host
from tests.e2e.judges import assert_sound, sfdisk
from tests.e2e.process import Host
from tests.guests.bootable import DISK_SIZE, PHRASE, bootable_guests
from tests.guests.manifest import as_raw
from tests.guests.red_hat import red_hat_guest
from tests.guests.tools import run

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.appliance, pytest.mark.timeout(1800)]
__all__ = ["host"]

GROWTH = 3 * GiB
_ASKED = rb"(?i)please unlock disk[^\n]*:|passphrase for[^\n]*:"


@dataclass(frozen=True)
class Case:
    """`part` is the partition that must reach the disk's end; `inside` holds the root."""

    name: str
    part: int
    inside: str
    locked: bool = False
    uefi: bool = False


CASES = [
    pytest.param(Case("cloud", 1, "sda1", uefi=True), id="cloud layout, by UEFI"),
    pytest.param(
        Case("cryptlvm", 5, "crypt--vg-root", locked=True), id="LVM in LUKS in a logical partition"
    ),
    pytest.param(Case("cloud", 1, "sda1"), id="cloud layout, by BIOS"),
    pytest.param(Case("gpt", 2, "sda2"), id="GPT, by BIOS"),
    pytest.param(Case("lvm", 5, "guest--vg-root"), id="LVM in a logical partition"),
    pytest.param(Case("luks", 2, "cryptroot", locked=True), id="LUKS"),
]


@pytest.mark.parametrize("case", CASES)
def test_an_expanded_guest_starts_and_its_root_has_the_new_space(
    tmp_path: Path, host: Host, case: Case
) -> None:
    image = tmp_path / "guest.qcow2"
    shutil.copyfile(bootable_guests() / f"{case.name}.qcow2", image)
    key = tmp_path / "key"
    key.write_bytes(PHRASE)
    table = _table(image)
    answer = host.growdisk(
        "expand", image, f"+{GROWTH // GiB}G", *(["--key-file", key] if case.locked else [])
    )
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert_sound(image)
    _assert_only_grown(table, _table(image), case.part)
    report = started(image, case)
    assert report.failed_units == report.waits == ()
    assert report.disks["sda"] == DISK_SIZE + GROWTH
    assert report.disks[f"sda{case.part}"] > GROWTH + GiB
    assert report.disks[case.inside] > GROWTH + GiB
    assert report.root_size > 0.95 * report.disks[case.inside]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            Case("cryptlvm", 5, "crypt--vg-root", locked=True), id="Debian's guided encrypted LVM"
        ),
        pytest.param(Case("red_hat", 3, "rhel-root", uefi=True), id="Red Hat's LVM and XFS"),
    ],
)
def test_a_guest_with_swap_in_a_volume_starts_as_it_did_before(
    tmp_path: Path, host: Host, case: Case, record_property: Callable[[str, object], None]
) -> None:
    source = red_hat_guest() if case.name == "red_hat" else bootable_guests() / f"{case.name}.qcow2"
    image, key = tmp_path / "guest.qcow2", tmp_path / "key"
    shutil.copyfile(source, image)
    key.write_bytes(PHRASE)
    answer = host.growdisk("expand", image, "+1G", *(["--key-file", key] if case.locked else []))
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert_sound(image)
    before, after = started(source, case), started(image, case)
    record_property("seconds", f"{before.login_seconds:.1f} {after.login_seconds:.1f}")
    assert before.failed_units == before.waits == after.failed_units == after.waits == ()
    assert before.swap == after.swap != ()
    assert after.login_seconds < 1.15 * before.login_seconds + 3
    assert after.files == before.files
    assert after.root_size > before.root_size + 0.9 * GiB


def started(image: Path, case: Case) -> BootReport:
    with running(image, steady_clock=True, uefi=case.uefi) as guest:
        if case.locked:
            guest.answer(_ASKED, PHRASE)
        return guest.wait_for_report()


def _table(image: Path) -> dict[str, dict[str, object]]:
    with as_raw(image, "qcow2") as raw:
        parts = {
            str(part.pop("node")).removeprefix(str(raw)).lstrip("p"): part for part in sfdisk(raw)
        }
        if "uuid" in next(iter(parts.values())):
            assert "No problems found" in run("sgdisk", "-v", raw)
    return parts


def _assert_only_grown(
    before: dict[str, dict[str, object]], after: dict[str, dict[str, object]], number: int
) -> None:
    """Only sizes of what grew, and around it, change: not numbers, starts, types, names, GUIDs."""
    assert after.keys() == before.keys()
    for name, part in before.items():
        free = {"size"} if name == str(number) or part["type"] == "5" else set()
        assert {k: v for k, v in after[name].items() if k not in free} == {
            k: v for k, v in part.items() if k not in free
        }
    end = int(str(after[str(number)]["start"])) + int(str(after[str(number)]["size"]))
    assert DISK_SIZE + GROWTH - end * 512 < 2 * MiB
