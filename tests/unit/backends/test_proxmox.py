"""Machines of Proxmox VE suspended to disk, by configuration files as in qm.conf(5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.storage.proxmox import suspended_with

_SUSPENDED = """\
boot: order=scsi0
lock: suspended
memory: 2048
scsi0: local-lvm:vm-101-disk-0,iothread=1,size=32G
scsi1: local:101/vm-101-disk-1.qcow2,size=8G
vmstate: local-lvm:vm-101-state-suspend-2026-01-01

[before]
scsi2: local:101/vm-101-disk-2.qcow2,size=8G
"""
_OFF = "memory: 2048\nvirtio0: local-lvm:vm-102-disk-0,size=32G\n\n[before]\nlock: suspended\n"


@pytest.mark.parametrize(
    ("disk", "number"),
    [
        ("/dev/pve/vm-101-disk-0", "101"),
        ("/var/lib/vz/images/101/vm-101-disk-1.qcow2", "101"),
        ("/var/lib/vz/images/101/vm-101-disk-2.qcow2", ""),
        ("/var/lib/vz/images/1101/vm-1101-disk-0.qcow2", ""),
        ("/dev/pve/vm-102-disk-0", ""),
    ],
)
def test_a_disk_is_known_by_its_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: str, number: str
) -> None:
    monkeypatch.setattr("growdisk.storage.proxmox._CONFIGURATIONS", tmp_path)
    (tmp_path / "101.conf").write_text(_SUSPENDED)
    (tmp_path / "102.conf").write_text(_OFF)
    assert suspended_with(Path(disk)) == number


def test_a_host_without_such_machines_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("growdisk.storage.proxmox._CONFIGURATIONS", tmp_path / "none")
    assert suspended_with(Path("/dev/pve/vm-101-disk-0")) == ""
