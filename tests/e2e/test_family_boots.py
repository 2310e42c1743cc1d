"""Expanded guests of other families start as before: no wait, no failed unit, same time.

The clock is steady.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.e2e.boot import BootReport, running
from tests.e2e.conftest import host
from tests.e2e.judges import assert_sound
from tests.e2e.process import Host
from tests.guests.families import FAMILIES
from tests.guests.family_disks import family_guest

pytestmark = [pytest.mark.boot, pytest.mark.appliance, pytest.mark.timeout(1800)]
__all__ = ["host"]


@dataclass(frozen=True)
class Case:
    """`swap` is what the guest swaps on afterwards: nothing, "file" or "partition"."""

    name: str
    options: tuple[str, ...] = ()
    swap: str = ""


_FILE, _MOVE = ("--swap", "file"), ("--swap", "move")
_DROPPED = sorted(FAMILIES.keys() - {"home"})
_FILED = ["suse", "subvolume", "fedora", "xfs", "trixie", "plainext", "sysvinit", "bullseye"]
_MOVED = ["entries", "unit", "random", "auto", "uki", "hostonly", "sysvinit", "extlinux", "sid"]
_CASES = [
    *(Case(name) for name in _DROPPED),
    Case("home", ("--partition", "2", "--move", "4")),
    *(Case(name, _FILE, "file") for name in _FILED),
    *(Case(name, _MOVE, "partition") for name in _MOVED),
]


def _named(case: Case) -> str:
    return "-".join((case.name, *(word for word in case.options if not word.startswith("--"))))


@pytest.mark.slow
@pytest.mark.parametrize("case", _CASES, ids=_named)
def test_a_guest_of_another_family_starts_as_it_did_before(
    tmp_path: Path, host: Host, case: Case, record_property: Callable[[str, object], None]
) -> None:
    image = tmp_path / "guest.qcow2"
    shutil.copyfile(family_guest(case.name), image)
    before = _untouched(case.name)
    answer = host.growdisk("expand", image, "+1G", *case.options)
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert_sound(image)
    after = _started(image, case.name)
    record_property("seconds", f"{before.login_seconds:.1f} {after.login_seconds:.1f}")
    record_property("repaired", answer.document)
    assert after.waits == after.failed_units == ()
    assert _kind_of_swap(after) == case.swap
    assert before.waits == before.failed_units == ()
    assert before.swap and after.login_seconds < 1.15 * before.login_seconds + 3
    assert after.files == before.files
    assert case.swap or "resume=" not in after.command_line.replace("noresume", "")
    assert after.root_size > 0.9 * max(size for name, size in after.disks.items() if name != "sda")


@cache
def _untouched(name: str) -> BootReport:
    return _started(family_guest(name), name)


def _started(image: Path, name: str) -> BootReport:
    with running(image, steady_clock=True, uefi=not FAMILIES[name].bios) as guest:
        return guest.wait_for_report()


def _kind_of_swap(report: BootReport) -> str:
    return " ".join(line.split()[1] for line in report.swap)


def test_every_family_is_booted() -> None:
    assert {case.name for case in _CASES} == set(FAMILIES)
