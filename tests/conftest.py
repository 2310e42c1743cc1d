"""Guests as fixtures.

Everything is built below tmp_path, apart from the Debian guest, which a cache outside keeps.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from growdisk.qcow2 import encryption
from growdisk.units import MiB
from growdisk.workflow.run_places import STATE_DIR
from tests.e2e.boot import BootReport
from tests.guests.classic import Guest, classic_guest
from tests.guests.layouts import Layout
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run
from tests.guests.untouched import untouched_report

# A growdisk leaves signals ignored that were so when it started, and these tests send them.
for number, handler in (
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGINT, signal.default_int_handler),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

DiskMaker = Callable[..., Path]
Copier = Callable[..., Path]
_UNTOUCHED_BOOT, _LIBVIRTD = "untouched boot", "libvirtd"
_STATE, _A_DAY = "gd-state-", 24 * 3600
# What takes long to make, or a machine has one of: what needs the same one shares a process.
_TOGETHER = {
    "tests/contract/test_backends_agree.py": "zoo",
    "tests/e2e/test_boot_harness.py": _UNTOUCHED_BOOT,
    "tests/e2e/test_expand_boots.py": _UNTOUCHED_BOOT,
    "tests/e2e/test_in_use.py": _LIBVIRTD,
    "tests/e2e/test_layers.py": "layers",
    "tests/e2e/test_libvirt_volumes.py": _LIBVIRTD,
    "tests/e2e/test_several_disks.py": "group on two disks",
    "tests/online/test_libvirt.py": _LIBVIRTD,
    "tests/online/test_live_refusals.py": "awake guest",
    "tests/online/test_ways_inside.py": "another awake guest",
    "tests/packaging/test_deb.py": "package",
    "tests/packaging/test_wheel.py": "wheel",
    "tests/playbooks/test_machines.py": _LIBVIRTD,
    "tests/test_architecture.py": "syntax",
    "tests/unit/api/test_what_the_disk_needs.py": "kept run",
    "tests/vagrant/test_vagrant.py": _LIBVIRTD,
}


def pytest_configure(config: pytest.Config) -> None:
    """Put records of runs into a folder of the tests, which an ordinary user writes to, too."""
    _remove_what_killed_tests_left()
    folder = tempfile.mkdtemp(prefix=_STATE, dir="/var/tmp")
    Path(folder).chmod(0o1777)
    os.environ[STATE_DIR] = folder
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    # A shell lets what it starts with & ignore Ctrl-C, and so would each growdisk that is tested.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Tests that somebody ends let go of their mounts, loop devices and guests, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _remove_what_killed_tests_left() -> None:
    for folder in Path("/var/tmp").glob(f"{_STATE}*"):
        with suppress(OSError):  # another process of the tests removed it, or it is somebody else's
            if time.time() - folder.stat().st_mtime > _A_DAY:
                shutil.rmtree(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Boots come first."""
    items.sort(key=lambda item: item.get_closest_marker("boot") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Keep modules together that share something: xdist's own groups are lost with pytest 9.2.

    Its node ids no longer take the mark that xdist gives them.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _TOGETHER.get(nodeid.partition("::")[0], nodeid)

    return Together(config, log)


@pytest.fixture(scope="session")
def disk_store(tmp_path_factory: pytest.TempPathFactory) -> DiskMaker:
    """disk_store(SmallDisk(...)): such a disk, made once in this session; for reading only."""
    folder, made = tmp_path_factory.mktemp("store"), dict[SmallDisk, Path]()

    def stored(disk: SmallDisk) -> Path:
        if disk not in made:
            made[disk] = make_disk(folder / f"{len(made)}.{disk.image_format}", disk)
        return made[disk]

    return stored


@pytest.fixture
def small_disk(tmp_path: Path, disk_store: DiskMaker) -> DiskMaker:
    """small_disk("name.qcow2", SmallDisk(...)): a quick disk in this test's folder."""

    def make(name: str = "guest.qcow2", disk: SmallDisk | None = None) -> Path:
        wanted, target = disk or SmallDisk(), tmp_path / name
        # an overlay names its base; large contents are not kept
        if wanted.backed or wanted.extra_files:
            return make_disk(target, wanted)
        return copy_sparse(disk_store(wanted), target)

    return make


def copy_sparse(source: Path, target: Path) -> Path:
    """A copy with the same holes."""
    assert not target.exists(), target
    run("cp", "--sparse=auto", source, target)
    return target


@pytest.fixture(scope="session")
def shared_disks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with guest.qcow2 and guest.raw (classic), cloud.qcow2 (GPT): for reading only."""
    folder = tmp_path_factory.mktemp("disks")
    make_disk(folder / "guest.qcow2", SmallDisk(size=128 * MiB, swap_size=16 * MiB))
    make_disk(
        folder / "guest.raw", SmallDisk(size=128 * MiB, swap_size=16 * MiB, image_format="raw")
    )
    make_disk(folder / "cloud.qcow2", SmallDisk(Layout.GPT_CLOUD, 128 * MiB))
    return folder


@pytest.fixture
def classic(shared_disks: Path) -> Path:
    return shared_disks / "guest.qcow2"


@pytest.fixture
def copied(shared_disks: Path, tmp_path: Path) -> Copier:
    """copied("guest.raw"): a disk of this test's own."""

    def copy(name: str, as_name: str | None = None) -> Path:
        return copy_sparse(shared_disks / name, tmp_path / (as_name or name))

    return copy


@pytest.fixture
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """What growdisk encrypts in this process is quick to open: else each opening takes seconds."""
    new_luks = encryption.new_luks
    monkeypatch.setattr(encryption, "new_luks", lambda key, _seconds: new_luks(key, 0.01))


@pytest.fixture(scope="session")
def classic_base() -> Guest:
    """The real Debian guest; its image is read-only and shared by all tests."""
    return classic_guest()


@pytest.fixture(scope="session")
def untouched_boot(classic_base: Guest) -> BootReport:
    """How the Debian guest boots as it was built."""
    return untouched_report(classic_base)


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
