"""The Debian package: built, looked at by lintian, installed in a clean Debian, and used there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import DiskMaker
from tests.e2e.judges import virtual_size
from tests.guests.tools import run
from tests.packaging.clean_debian import ROOT, CleanDebian, clean_debian

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="installing packages in a folder needs root"
)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deb")
    run(ROOT / "setup/deb.sh", folder)
    return next(folder.glob("growdisk_*.deb"))


@pytest.fixture(scope="session")
def debian(package: Path) -> Iterator[CleanDebian]:
    with tempfile.TemporaryDirectory(prefix="growdisk-deb-", dir="/var/tmp") as folder:
        clean = clean_debian(Path(folder))
        shutil.copy(package, clean.folder / "tmp/growdisk.deb")
        done = clean.run("dpkg", "--install", "/tmp/growdisk.deb")
        assert done.returncode == 0, done.stdout + done.stderr
        yield clean


def test_lintian_finds_no_error(package: Path) -> None:
    done = subprocess.run(
        ["lintian", "--fail-on", "error,warning", package], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_the_version_is_growdisks_own(package: Path) -> None:
    from growdisk import __version__

    assert run("dpkg-deb", "--field", package, "Version").strip() == __version__


def test_the_package_does_the_main_job_and_a_playbook(
    debian: CleanDebian, small_disk: DiskMaker
) -> None:
    shutil.copy(small_disk(), debian.folder / "tmp/g.qcow2")
    before = virtual_size(debian.folder / "tmp/g.qcow2")
    done = debian.run("growdisk", "expand", "g.qcow2", "+64M", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["backend"] == "direct"
    done = debian.run(
        "growdisk", "run", "expand-root", "-e", "target=/tmp/g.qcow2", "-e", "size=+64M"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert virtual_size(debian.folder / "tmp/g.qcow2") == before + (128 << 20)


def test_the_package_provisions_with_a_seed(debian: CleanDebian, small_disk: DiskMaker) -> None:
    """The seed is made by a library that Debian's own is too old for."""
    shutil.copy(small_disk(), debian.folder / "tmp/base.qcow2")
    done = debian.run(
        "growdisk", "provision", "base.qcow2", "out.qcow2", "--size", "+64M", "--seed"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (debian.folder / "tmp/out-seed.iso").is_file()


def test_doctor_says_that_the_main_job_can_be_done_without_libguestfs(debian: CleanDebian) -> None:
    done = debian.run("growdisk", "doctor", "--quick", "--json")
    grows = {can["what"]: can for can in json.loads(done.stdout)["grows"]}
    assert (done.returncode, grows["ext2, ext3, ext4"]["by"]) == (0, "direct")
    assert (grows["NTFS"]["ok"], grows["NTFS"]["missing"]) == (False, ["ntfs-3g"])


@pytest.mark.parametrize("page", ["growdisk", "growdisk-expand", "growdisk-image"])
def test_man_has_the_page(debian: CleanDebian, page: str) -> None:
    done = debian.run("man", page)
    assert (done.returncode, "EXAMPLES" in done.stdout) == (0, True), done.stderr


def test_bash_completes_the_installed_command(debian: CleanDebian) -> None:
    script = """
        . /usr/share/bash-completion/completions/growdisk
        COMP_WORDS=(growdisk ex); COMP_CWORD=1; COMP_LINE="growdisk ex"; COMP_POINT=11
        _shtab_growdisk growdisk ex growdisk; echo "${COMPREPLY[@]}"
    """
    assert debian.run("bash", "-c", script).stdout.split() == ["expand"]


def test_removing_the_package_leaves_nothing(debian: CleanDebian, package: Path) -> None:
    assert debian.run("dpkg", "--purge", "growdisk").returncode == 0
    assert not (debian.folder / "usr/lib/growdisk").exists()
    assert debian.run("dpkg", "--install", "/tmp/growdisk.deb").returncode == 0
