"""The direct backend as an ordinary user, who may mount only FUSE: grown, killed, unmounted.

If the tests run as an ordinary user all others show it as well; if they run as root, these
drop the privileges.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from growdisk.units import MiB
from growdisk.workflow.run_places import STATE_DIR
from tests.conftest import DiskMaker
from tests.e2e.judges import Before, assert_grown, assert_unchanged
from tests.e2e.ordinary_user import _DROP, _NOBODY
from tests.e2e.process import Host, await_true, wait_for
from tests.guests.small import SmallDisk
from tests.guests.tools import run


@pytest.fixture
def ordinary(host: Host) -> Host:
    """growdisk is started by nobody."""
    if os.geteuid() == 0:
        if subprocess.run(
            [*_DROP, sys.executable, "-c", "import growdisk.cli.main"], cwd="/"
        ).returncode:
            pytest.skip("this Python is root's alone")
        os.chown(host.scratch, _NOBODY, _NOBODY)
        host.prefix = _DROP
        host.environment |= {"HOME": str(host.scratch), "PYTHONDONTWRITEBYTECODE": "1"}
    host.backend = "direct"
    return host


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where others may enter, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="gd-images-", dir="/tmp") as name:
        yield Path(name)


def make_guest(small_disk: DiskMaker, folder: Path, name: str) -> tuple[Path, Before]:
    kind = name.partition(".")[2]
    made = small_disk(name, SmallDisk(size=128 * MiB, swap_size=16 * MiB, image_format=kind))
    before = Before.of(made, kind)
    run("mv", made, folder)
    if os.geteuid() == 0:
        for path in (folder, folder / name):
            os.chown(path, _NOBODY, _NOBODY)
    return folder / name, before


@pytest.mark.parametrize("name", ["guest.qcow2", "guest.raw"])
def test_an_ordinary_user_grows_a_guest(
    small_disk: DiskMaker, ordinary: Host, folder: Path, name: str
) -> None:
    image, before = make_guest(small_disk, folder, name)
    answer = ordinary.growdisk("expand", image, "+1G")
    assert (answer.code, answer.result, answer.document["backend"]) == (0, "changed", "direct"), (
        answer
    )
    assert_grown(image, before)
    assert ordinary.left_files() == []
    ordinary.assert_quiet()


@pytest.mark.parametrize("step", ["reread-partitions", "grow-filesystem", "repair-guest"])
def test_a_killed_run_of_an_ordinary_user_leaves_nothing_mounted(
    small_disk: DiskMaker, ordinary: Host, folder: Path, step: str
) -> None:
    image, before = make_guest(small_disk, folder, "guest.qcow2")
    command = ordinary.start("expand", image, "+1G")
    wait_for(command, image, "applying", step)
    command.kill()
    ordinary.assert_quiet()
    await_true(lambda: not ordinary.left_files(), 10, "no file is left")
    assert ordinary.growdisk("rollback", image).result == "restored"
    assert_unchanged(image, before)


def test_a_umask_that_takes_all_rights_away_hinders_nobody(
    small_disk: DiskMaker, ordinary: Host, folder: Path
) -> None:
    image, before = make_guest(small_disk, folder, "guest.qcow2")
    # Of the tests' own state folder, root may have made what is in it.
    ordinary.environment[STATE_DIR] = str(folder / "state")
    ordinary.prefix = (*ordinary.prefix, "sh", "-c", 'umask 0777; exec "$@"', "sh")
    answer = ordinary.growdisk("expand", image, "+1G")
    assert (answer.code, answer.document["backend"]) == (0, "direct"), answer
    assert_grown(image, before)
    assert not image.with_name(f"{image.name}.growdisk").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become somebody else")
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_run_of_another_user_is_told_as_that(
    small_disk: DiskMaker, ordinary: Host, folder: Path, mode: int
) -> None:
    image, _ = make_guest(small_disk, folder, "guest.qcow2")
    assert ordinary.growdisk("expand", image, "+1G", "--keep-snapshots").code == 0
    place = image.with_name(f"{image.name}.growdisk")
    place.chmod(mode)
    run("chown", "-R", "root", place)
    for verb in ("status", "show", "rollback"):
        answer = ordinary.growdisk(verb, image)
        assert (answer.code, answer.error["id"]) == (3, "record-unreadable"), answer
        assert "sudo" in str(answer.error["do"])
