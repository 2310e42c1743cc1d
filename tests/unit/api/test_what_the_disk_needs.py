"""Sector size and passphrases reach every call that reads a disk, also by the name of a guest."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.api import LiveRequest, inspect, write_scripts
from growdisk.errors import GrowdiskError, KeyNeeded
from growdisk.planner.goal import Goal
from growdisk.units import ByteRange, MiB, parse_size
from tests.guests.ext4 import make_ext4
from tests.guests.tools import run
from tests.refusals import raises
from tests.unit.cli.command import in_process
from tests.unit.partitions import large_disks as large

UUID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def large_sectors(tmp_path: Path) -> Path:
    return made_of_large_sectors(tmp_path)


def made_of_large_sectors(folder: Path) -> Path:
    image = folder / "large.raw"
    large.make(image, "gpt", "root 1MiB 60MiB")
    make_ext4(image, ByteRange(MiB, 60 * MiB), [], uuid=UUID, block_size=4096)
    return image


@pytest.fixture(scope="module")
def kept_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with the snapshots of a run, which takes an emulated machine to make."""
    folder = tmp_path_factory.mktemp("kept")
    image = folder / "guest.qcow2"
    run("qemu-img", "convert", "-O", "qcow2", made_of_large_sectors(folder), image)
    words = ("--sector-size", "4096", "--keep-snapshots", "--json")
    assert in_process("expand", image, "+64M", *words).code == 0
    return image


@pytest.fixture
def encrypted(tmp_path: Path, quick_keys: None) -> Path:
    image, key = tmp_path / "encrypted.qcow2", tmp_path / "key"
    key.write_text("phrase")
    words = ("image", "create", "--encrypt", "luks", "--new-key-file", key, image, "64M")
    assert in_process(*words).code == 0
    return image


def test_a_guest_that_is_off_is_looked_at_with_the_sector_size_that_was_said(
    large_sectors: Path,
) -> None:
    request = LiveRequest(path=large_sectors)
    with raises("table-unsupported"):
        inspect(request)
    assert inspect(request, sector_size=4096) == inspect(large_sectors, sector_size=4096)


def test_a_guest_that_is_off_is_looked_at_with_the_passphrases_that_were_given(
    encrypted: Path,
) -> None:
    request = LiveRequest(path=encrypted)
    with pytest.raises(KeyNeeded):
        inspect(request)
    assert inspect(request, keys=(b"phrase",)).image.virtual_size == 64 * MiB


@pytest.mark.parametrize("named", ["by path", "by guest"])
def test_scripts_are_made_with_the_sector_size_that_was_said(
    large_sectors: Path, tmp_path: Path, named: str
) -> None:
    target = large_sectors if named == "by path" else LiveRequest(path=large_sectors)
    goal = Goal(parse_size("+64M"), sector_size=4096)
    written = write_scripts(target, goal, tmp_path / "scripts")
    assert written.plan is not None
    assert written.plan.before.sector_size == 4096


@pytest.mark.parametrize("named", ["by path", "by guest"])
def test_scripts_are_made_with_the_passphrases_that_were_given(
    encrypted: Path, tmp_path: Path, named: str
) -> None:
    target = encrypted if named == "by path" else LiveRequest(path=encrypted)
    with pytest.raises(KeyNeeded):
        write_scripts(target, Goal(), tmp_path / "scripts")
    with pytest.raises(GrowdiskError) as found:  # it can be read, and is empty
        write_scripts(target, Goal(), tmp_path / "scripts", keys=(b"phrase",))
    assert not isinstance(found.value, KeyNeeded)


@pytest.mark.appliance
@pytest.mark.parametrize("verb", [pytest.param("commit", marks=pytest.mark.slow), "rollback"])
def test_a_run_without_its_folder_ends_on_a_disk_of_large_sectors(
    kept_run: Path, tmp_path: Path, verb: str
) -> None:
    moved, words = tmp_path / "moved.qcow2", ("--sector-size", "4096", "--json")
    run("cp", "--sparse=always", kept_run, moved)
    assert in_process(verb, "--force", moved, "--json").json()["error"]["id"] == "table-unsupported"
    answer = in_process(verb, "--force", moved, *words)
    assert answer.code == 0, answer
    assert [part["name"] for part in answer.json()["after"]["partitions"]] == ["sda1"]
