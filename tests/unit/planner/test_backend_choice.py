"""Which backend a plan names: the one that will do the work."""

from __future__ import annotations

import pytest

from growdisk.units import MiB
from tests.conftest import DiskMaker
from tests.guests.layouts import Layout
from tests.guests.small import SmallDisk
from tests.unit.cli.command import growdisk


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_what_only_a_kernel_grows_is_for_libguestfs(small_disk: DiskMaker, kind: str) -> None:
    disk = small_disk(disk=SmallDisk(Layout.PLAIN, 512 * MiB, filesystem=kind))
    planned = growdisk("plan", "--json", disk, "+1G")
    assert (planned.code, planned.json()["backend"]) == (0, "guestfs"), planned
    refused = growdisk("plan", "--json", "--backend", "direct", disk, "+1G")
    assert (refused.code, "grow-filesystem" in refused.json()["error"]["why"]) == (3, True), refused
