"""Guests as fixtures. Everything is built below tmp_path, apart from the Debian guest, which a cache outside keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.boot import BootReport, boot
from tests.guests.classic import Guest, classic_guest
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run

DiskMaker = Callable[..., Path]
# Fixtures that take half a minute and more: the tests of each share one process, so that its work is done once.
_COSTLY = ("untouched_boot", "awake_guest", "results", "grown")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Boots come first."""
    for item in items:
        for name in set(_COSTLY).intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(name))
    items.sort(key=lambda item: item.get_closest_marker("boot") is None)


@pytest.fixture
def small_disk(tmp_path: Path) -> DiskMaker:
    """small_disk("name.qcow2", SmallDisk(...)): a quick disk in this test's folder."""

    def make(name: str = "guest.qcow2", disk: SmallDisk | None = None) -> Path:
        return make_disk(tmp_path / name, disk)

    return make


@pytest.fixture(scope="session")
def classic_base() -> Guest:
    """The real Debian guest; its image is read-only and shared by all tests."""
    return classic_guest()


@pytest.fixture(scope="session")
def untouched_boot(classic_base: Guest) -> BootReport:
    """How the Debian guest boots as it was built."""
    return boot(classic_base.image)


@pytest.fixture
def classic_copy(classic_base: Guest, tmp_path: Path) -> Path:
    """A writable whole copy of the Debian guest's image (half a GiB, a second)."""
    copy = tmp_path / "classic.qcow2"
    run("cp", "--reflink=auto", "--sparse=always", "--no-preserve=mode", classic_base.image, copy)
    copy.chmod(0o644)
    return copy


@pytest.fixture
def classic_overlay(classic_base: Guest, tmp_path: Path) -> Path:
    """A writable overlay on the Debian guest's image."""
    overlay = tmp_path / "classic-overlay.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", classic_base.image, "-F", "qcow2", overlay)
    return overlay
