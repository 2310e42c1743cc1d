"""Small disks that are made once; a test that changes one takes a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.guests.layouts import Layout
from tests.guests.small import SmallDisk, make_disk

Copier = Callable[..., Path]


@pytest.fixture(scope="session")
def shared_disks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with guest.qcow2 and guest.raw (classic), cloud.qcow2 (GPT): for reading only."""
    folder = tmp_path_factory.mktemp("disks")
    make_disk(folder / "guest.qcow2", SmallDisk(size=128 * MiB, swap_size=16 * MiB))
    make_disk(folder / "guest.raw", SmallDisk(size=128 * MiB, swap_size=16 * MiB, image_format="raw"))
    make_disk(folder / "cloud.qcow2", SmallDisk(Layout.GPT_CLOUD, 128 * MiB))
    return folder


@pytest.fixture
def classic(shared_disks: Path) -> Path:
    return shared_disks / "guest.qcow2"


@pytest.fixture
def copied(shared_disks: Path, tmp_path: Path) -> Copier:
    """copied("guest.raw"): a disk of this test's own."""

    def copy(name: str, as_name: str | None = None) -> Path:
        target = tmp_path / (as_name or name)
        shutil.copyfile(shared_disks / name, target)
        return target

    return copy
