"""Which images lie on an image, on a host whose libvirt cannot be asked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from growdisk.api.overlays import dependents_of, overlays_on
from growdisk.errors import Refused
from growdisk.live import local_guests
from growdisk.units import MiB
from tests.guests.tools import run
from tests.unit.cli.command import in_process


@pytest.fixture
def no_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """A libvirt listens, and Python has no module for it."""
    monkeypatch.setattr(local_guests, "listening", lambda: ["qemu:///system"])
    monkeypatch.delitem(sys.modules, "growdisk.live.libvirt_domain", raising=False)
    monkeypatch.setitem(sys.modules, "libvirt", None)


@pytest.mark.usefixtures("no_module")
def test_looking_is_not_refused_and_changing_is(tmp_path: Path) -> None:
    base, overlay = tmp_path / "base.qcow2", tmp_path / "overlay.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", base, "16M")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", overlay)
    assert [found.path for found in overlays_on(base)] == [str(overlay)]
    with pytest.raises(Refused, match="libvirt cannot be asked"):
        dependents_of(base)


@pytest.mark.parametrize("moved", [False, True])
def test_a_raw_disk_whose_size_stands_in_a_vmdk_is_not_changed(tmp_path: Path, moved: bool) -> None:
    """By qemu-img, or as VirtualBox makes one for a raw disk (createrawvmdk)."""
    vmdk, raw = tmp_path / "guest.vmdk", tmp_path / "guest-flat.vmdk"
    run("qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", vmdk, "16M")
    if moved:
        raw = raw.rename(tmp_path / "guest.img")
        vmdk.write_bytes(vmdk.read_bytes().replace(b"guest-flat.vmdk", b"guest.img"))
    assert "16 MiB" in run("qemu-img", "info", vmdk)
    answer = in_process("image", "resize", raw, "+1M")
    assert (answer.code, "-f vmdk" in answer.err) == (3, True), answer
    assert raw.stat().st_size == 16 * MiB
    assert in_process("image", "resize", raw, "+1M", "--overlays-may-break").code == 0
