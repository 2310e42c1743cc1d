"""Which images lie on an image, on a host whose libvirt cannot be asked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from growdisk.api.overlays import dependents_of, overlays_on
from growdisk.errors import Refused
from growdisk.live import local_guests
from tests.guests.tools import run


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
