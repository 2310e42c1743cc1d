"""The keeper of a mount, which may be killed at any instant."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from growdisk.block.host_devices import mounts
from growdisk.host.fuse_mount import mounted, unmounting_beside
from tests.e2e.process import need


def keeper_of(place: Path) -> int:
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            if os.fsencode(place) in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                return int(child)
    raise AssertionError(f"{place} has no keeper")


@pytest.mark.parametrize("beside", [False, True])
def test_what_a_killed_keeper_leaves_is_removed(beside: bool) -> None:
    need("direct")

    def killed() -> Path:
        with mounted({}) as (place, _):
            os.kill(keeper_of(place), signal.SIGKILL)
        return place

    if beside:
        with unmounting_beside():
            place = killed()
    else:
        place = killed()
    assert not place.parent.exists()
    assert str(place) not in [mount.place for mount in mounts()]
