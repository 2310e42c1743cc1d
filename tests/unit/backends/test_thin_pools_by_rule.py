"""What a thin pool has promised to all of its volumes, as lvs tells it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from growdisk.api import host_space
from growdisk.host.free_space import HostRoom, thin_pool_in
from growdisk.host.logical_volumes import volumes_in
from growdisk.planner.goal import Goal, Rule
from growdisk.units import GiB
from tests.refusals import raises


def volume(name: str, minor: int, size: int, pool: str = "", used: str = "") -> dict[str, str]:
    return {
        "lv_kernel_major": "253",
        "lv_kernel_minor": str(minor),
        "vg_name": "vg",
        "lv_name": name,
        "pool_lv": pool,
        "lv_size": str(size),
        "data_percent": used,
        "metadata_percent": "1.0",
        "vg_free": "0",
        "vg_extent_size": "4194304",
        "lv_role": "public",
        "vg_systemid": "",
    }


REPORT = json.dumps(
    {
        "report": [
            {
                "lv": [
                    volume("pool", 2, 100 * GiB, used="30.0"),
                    volume("a", 3, 40 * GiB, "pool", "10.0"),
                    volume("b", 4, 50 * GiB, "pool", "20.0"),
                    volume("other", 5, 500 * GiB),
                ]
            }
        ]
    }
).encode()


def test_a_pool_has_promised_what_all_its_volumes_have() -> None:
    room = thin_pool_in(volumes_in(REPORT), os.makedev(253, 3))
    assert room is not None
    assert (room.promised, room.total, room.free) == (90 * GiB, 100 * GiB, 70 * GiB)


def test_a_growth_that_would_overcommit_the_pool_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = HostRoom(70 * GiB, 100 * GiB, "in the thin pool vg/pool", 40 * GiB, 90 * GiB)
    monkeypatch.setattr("growdisk.api.host_space.room_for", lambda _: room)
    goal = Goal(rule=Rule(0.85))
    host_space.refuse_to_fill_host(Path("/dev/vg/a"), goal, 40 * GiB, 50 * GiB)
    with raises("pool-overcommitted"):
        host_space.refuse_to_fill_host(Path("/dev/vg/a"), goal, 40 * GiB, 51 * GiB)
    host_space.refuse_to_fill_host(Path("/dev/vg/a"), Goal(), 40 * GiB, 51 * GiB)
