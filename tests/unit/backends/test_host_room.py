"""Room on the host: of file systems, really asked; of thin pools, from what lvs reports."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from growdisk.host.free_space import room_for, thin_pool_in
from growdisk.host.json_codec import NotThatValue
from growdisk.host.logical_volumes import volumes_in
from growdisk.units import GiB


def lvs(*volumes: tuple[str, str, str, str, str], metadata: str = "12.50") -> bytes:
    """(minor, name, pool, size, percent) of each volume of vg0, as lvs 2.03 writes them."""
    rows = [
        {
            "lv_kernel_major": "254",
            "lv_kernel_minor": minor,
            "vg_name": "vg0",
            "lv_name": name,
            "pool_lv": pool,
            "lv_size": size,
            "data_percent": percent,
            "metadata_percent": "" if pool else metadata,
            "vg_free": "0",
            "vg_extent_size": "4194304",
            "lv_role": "public",
            "vg_systemid": "",
        }
        for minor, name, pool, size, percent in volumes
    ]
    return json.dumps({"report": [{"lv": rows}]}).encode()


REPORT = lvs(
    ("4", "images", "pool", str(100 * GiB), "37.00"), ("3", "pool", "", str(40 * GiB), "97.50")
)


def test_a_file_system_says_what_it_has_free(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"x")
    space, room = os.statvfs(tmp_path), room_for(image)
    assert room.total == space.f_blocks * space.f_frsize
    assert (room.where, room.device_size) == (f"on {tmp_path}", None)


def test_a_thin_volume_has_what_its_pool_has() -> None:
    room = thin_pool_in(volumes_in(REPORT), os.makedev(254, 4))
    assert room is not None
    assert (room.free, room.where, room.nearly_full) == (GiB, "in the thin pool vg0/pool", True)


def test_a_pool_whose_metadata_are_full_takes_nothing_more() -> None:
    half_full = (
        ("4", "images", "pool", str(100 * GiB), "37.00"),
        ("3", "pool", "", str(40 * GiB), "50.00"),
    )
    for metadata, full in (("94.99", False), ("97.50", True)):
        room = thin_pool_in(volumes_in(lvs(*half_full, metadata=metadata)), os.makedev(254, 4))
        assert room is not None
        assert (room.free, room.nearly_full) == (GiB if full else 20 * GiB, full)


def test_what_is_not_thin_has_no_pool() -> None:
    assert thin_pool_in(volumes_in(REPORT), os.makedev(254, 3)) is None
    assert thin_pool_in(volumes_in(REPORT), os.makedev(8, 4)) is None


@pytest.mark.parametrize(
    "report", [b"", b"{}", b"[]", lvs(("4", "a", "p", "1", ""), ("3", "p", "", "x", ""))]
)
def test_what_is_no_report_is_not_believed(report: bytes) -> None:
    with pytest.raises(NotThatValue):
        thin_pool_in(volumes_in(report), os.makedev(254, 4))
