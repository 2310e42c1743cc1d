"""The Vagrantfiles as vagrant judges them, and the trial: a running vagrant guest grows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from growdisk.host.kvm import accelerator
from tests.guests.tools import environment
from vagrant.box import box
from vagrant.driver import driver

ROOT = Path(__file__).parent.parent.parent


def vagrant(folder: Path, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    own = {
        "VAGRANT_HOME": str(home),
        "VAGRANT_DOTFILE_PATH": str(home / "dot"),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
    }
    return subprocess.run(
        ["vagrant", "--no-tty", *words],
        cwd=folder,
        env={**environment(), **own},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("folder", ["vagrant", "vagrant/own"])
def test_vagrant_finds_no_fault_with_the_vagrantfile(folder: str, tmp_path: Path) -> None:
    done = vagrant(ROOT / folder, tmp_path, "validate")
    assert (done.returncode, "validated successfully" in done.stdout) == (0, True), done


def test_vagrant_finds_fault_with_a_misspelt_option(tmp_path: Path) -> None:
    """The judge of the test above can say no."""
    text = (ROOT / "vagrant" / "own" / "Vagrantfile").read_text()
    (tmp_path / "Vagrantfile").write_text(
        text.replace("machine_virtual_size", "machine_virtual_sise")
    )
    assert vagrant(tmp_path, tmp_path / "home", "validate").returncode != 0


def test_the_driver_is_qemu_where_kvm_does_not_work() -> None:
    assert driver() == ("kvm" if accelerator().has_kvm else "qemu")


@pytest.mark.slow
@pytest.mark.boot
@pytest.mark.timeout(3600)
def test_a_guest_of_vagrants_grows_while_it_runs_and_nothing_of_it_stays() -> None:
    if os.geteuid() != 0:
        pytest.skip("libvirtd must be started by root")
    before = set(Path("/var/tmp").glob("growdisk-vagrant-*"))
    done = subprocess.run(
        [sys.executable, "-m", "vagrant.trial"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert done.stdout.count("== ok: the file system fills the partition") == 2, done.stdout[-6000:]
    assert set(Path("/var/tmp").glob("growdisk-vagrant-*")) == before
    with tarfile.open(box()) as tar:
        metadata = tar.extractfile("metadata.json")
        assert metadata is not None
        assert json.load(metadata) == {"provider": "libvirt", "format": "qcow2", "virtual_size": 3}
