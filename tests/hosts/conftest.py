"""The guest that most hosts here have on one of their disks."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.e2e.judges import Before
from tests.guests.small import SmallDisk, make_disk
from tests.hosts.machine import OLD


@pytest.fixture
def before(tmp_path: Path) -> Before:
    guest = make_disk(
        tmp_path / "guest.raw", SmallDisk(size=OLD, swap_size=16 * MiB, image_format="raw")
    )
    return Before.of(guest, "raw")
