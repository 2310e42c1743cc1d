"""growdisk answers at once: nothing is loaded that a command does not need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.loading import HEAVY, WITHOUT_LIBVIRT, cpu_seconds, loaded_by


def test_show_loads_nothing_heavy(classic: Path) -> None:
    assert loaded_by("show", classic, before=WITHOUT_LIBVIRT).intersection(HEAVY) == set()


def test_status_of_nothing_loads_no_library_of_a_run(classic: Path) -> None:
    assert (
        loaded_by("status", classic).intersection({"parted", "_ped", "guestfs", "rich", "asyncio"})
        == set()
    )


def test_plan_loads_no_hands(classic: Path) -> None:
    assert (
        loaded_by("plan", classic, "+1G", before=WITHOUT_LIBVIRT).intersection(
            {"parted", "_ped", "guestfs", "rich", "asyncio"}
        )
        == set()
    )


def test_version_loads_nothing_of_the_house_but_its_door() -> None:
    house = {name for name in loaded_by("--version") if name.startswith("growdisk")}
    assert house == {"growdisk", "growdisk.cli", "growdisk.cli.main"}


@pytest.mark.parametrize(("words", "limit"), [(("--version",), 0.1), (("show", "IMAGE"), 0.3)])
def test_answer_takes_little_time(classic: Path, words: tuple[str, ...], limit: float) -> None:
    """Twice what was measured on a busy machine, so that only a real change is noticed."""
    assert cpu_seconds(*(str(classic) if word == "IMAGE" else word for word in words)) < limit


def test_a_machine_that_may_be_off_loads_no_monitor() -> None:
    """`-d NAME` asks libvirt alone: on a host without python3-qemu.qmp that is enough."""
    loaded = loaded_by("--version", before="import growdisk.api.running; ")
    assert loaded.intersection({"qemu", "asyncio", "libvirt", "guestfs"}) == set()
