"""What people install is whole: wheel and sdist, in a bare environment, outside the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import DiskMaker
from tests.e2e.judges import virtual_size
from tests.guests.tools import run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel that was made of it: what the sdist lacks, the wheel lacks too."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="session")
def installed(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command in a new environment with Debian's packages, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    run("/usr/bin/python3", "-m", "venv", "--system-site-packages", folder)
    run(folder / "bin/python", "-m", "pip", "install", "--quiet", next(distributions.glob("*.whl")))
    return folder / "bin/growdisk"


def answer(command: Path, *words: str | Path, cwd: Path) -> dict[str, object]:
    done = subprocess.run([command, *words, "--json"], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    document: dict[str, object] = json.loads(done.stdout)
    return document


def test_the_wheel_has_a_licence_and_all_that_is_read_at_run_time(distributions: Path) -> None:
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        metadata = wheel.read(next(name for name in names if name.endswith("METADATA"))).decode()
    package = ROOT / "growdisk"
    needed = {
        f"growdisk/{file.relative_to(package)}"
        for file in package.rglob("*")
        if file.suffix in {".py", ".j2", ".json", ".typed"}
    }
    assert needed <= names
    assert {f"growdisk/shipped/{file.name}" for file in (ROOT / "playbooks").glob("*.yml")} <= names
    assert "License-Expression: GPL-2.0-or-later" in metadata
    assert "Author: growdisk contributors" in metadata


def test_an_installed_growdisk_does_the_main_job(
    installed: Path, small_disk: DiskMaker, tmp_path: Path
) -> None:
    disk = small_disk()
    before = virtual_size(disk)
    assert answer(installed, "expand", disk, "+64M", cwd=tmp_path)["result"] == "changed"
    assert virtual_size(disk) == before + (64 << 20)


def test_an_installed_growdisk_has_its_playbooks(
    installed: Path, small_disk: DiskMaker, tmp_path: Path
) -> None:
    disk = small_disk()
    before = virtual_size(disk)
    answer(installed, "run", "expand-root", "-e", f"target={disk}", "-e", "size=+64M", cwd=tmp_path)
    assert virtual_size(disk) == before + (64 << 20)


def test_a_playbook_that_nobody_has_is_answered_with_the_nearest(
    installed: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [installed, "run", "expand-rot"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "did you mean expand-root?" in done.stderr
    assert "provision-from-base" in done.stderr


def test_an_installed_growdisk_installs_its_collection(installed: Path, tmp_path: Path) -> None:
    told = answer(installed, "collection", "install", "-p", tmp_path / "collections", cwd=tmp_path)
    folder = tmp_path / "collections/ansible_collections/growdisk/disk"
    assert (told["collection"], told["path"]) == ("growdisk.disk", str(folder))
    listed = subprocess.run(
        ["ansible-doc", "-l", "growdisk.disk", "--json"], capture_output=True, text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections"),
            "HOME": str(tmp_path)},
    )  # fmt: skip
    assert {"growdisk.disk.expand", "growdisk.disk.provision"} <= json.loads(listed.stdout).keys()


def test_installing_the_collection_twice_leaves_the_newer(installed: Path, tmp_path: Path) -> None:
    for _ in range(2):
        answer(installed, "collection", "install", "-p", tmp_path / "c", cwd=tmp_path)
        stale = tmp_path / "c/ansible_collections/growdisk/disk/stale"
        assert not stale.exists()
        stale.touch()
