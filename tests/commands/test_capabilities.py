"""What doctor says can be grown here."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.backends.available import trial_disk
from growdisk.backends.doctor import MAIN, Capability, capabilities
from tests.unit.cli.command import growdisk


def found(**backends: bool) -> dict[str, Capability]:
    return {can.what: can for can in capabilities(backends)}


def test_any_backend_is_enough_for_the_main_job() -> None:
    assert found(direct=True, uml=False, guestfs=False)[MAIN].by == "direct"
    assert found(direct=False, uml=True, guestfs=False)[MAIN].by == "uml"
    assert found(direct=False, uml=False, guestfs=True)[MAIN].by == "guestfs"
    assert not found(direct=False, uml=False, guestfs=False)[MAIN].ok


def test_what_needs_a_kernel_is_not_grown_by_host_tools_alone() -> None:
    can = found(direct=True, uml=False, guestfs=False)
    assert [can[what].ok for what in ("XFS", "btrfs", "LVM", "LUKS")] == [False] * 4


def test_a_disk_to_try_something_with_leaves_nothing_if_growdisk_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with trial_disk() as disk:
        disk.write(0, b"tried")
        assert disk.read(0, 5) == b"tried"
        assert list(tmp_path.iterdir()) == []


def test_missing_tools_are_named_by_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("growdisk.backends.doctor.is_here", lambda tool: False)
    can = found(direct=True, uml=True, guestfs=False)
    assert (can["NTFS"].missing, can["NTFS"].fedora) == (("ntfs-3g",), ("ntfsprogs",))
    assert (can["LVM"].ok, can["LVM"].missing) == (False, ("lvm2",))


def test_the_appliance_brings_its_own_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("growdisk.backends.doctor.is_here", lambda tool: False)
    assert found(direct=False, uml=False, guestfs=True)["LVM"].by == "guestfs"


def test_libvirt_that_does_not_answer_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    what = "running guests of libvirt"
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "qemu+unix:///system?socket=/nonexistent")
    can = found(direct=True)[what]
    assert (can.ok, can.missing, "cannot reach libvirt" in can.reason) == (False, (), True)
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "test:///default")
    assert found(direct=True)[what].ok


def test_doctor_lists_them_and_the_sites_defaults(tmp_path: Path) -> None:
    config = tmp_path / "growdisk.toml"
    config.write_text('swap = "move"\n')
    answer = growdisk("doctor", "--quick", "--json", env={"GROWDISK_CONFIG": str(config)})
    told = answer.json()
    assert (answer.code, told["ok"]) == (0, True)
    assert next(can for can in told["grows"] if can["what"] == MAIN)["ok"]
    assert told["config"] == [{"key": "swap", "value": "move", "file": str(config)}]
