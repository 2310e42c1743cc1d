"""The units of systemd that the package installs, as systemd itself judges them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

DEBIAN = Path(__file__).parents[2] / "debian"


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """With a program that is there: growdisk is not installed here."""
    made = []
    for kind in ("service", "timer"):
        unit = tmp_path / f"growdisk-watch.{kind}"
        shutil.copy(DEBIAN / f"growdisk.growdisk-watch.{kind}", unit)
        unit.write_text(unit.read_text().replace("/usr/bin/growdisk", "/bin/true"))
        made.append(unit)
    return made


def test_systemd_finds_nothing_wrong_with_them(units: list[Path]) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_service_is_hardened(units: list[Path]) -> None:
    """It needs root, devices and mounts; what it does not need it has not."""
    words = [
        "systemd-analyze",
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold=80",
        units[0],
    ]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
