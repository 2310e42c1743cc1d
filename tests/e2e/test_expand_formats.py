"""The whole job on every image format and swap action, judged by foreign tools alone."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from growdisk.units import GiB, MiB
from tests.conftest import DiskMaker
from tests.e2e.judges import (
    REPAIRED,
    SECTOR,
    Before,
    assert_grown,
    assert_unchanged,
    sfdisk,
    virtual_size,
)
from tests.e2e.process import Host
from tests.guests.layouts import Layout
from tests.guests.manifest import as_raw, differences, file_manifest
from tests.guests.small import SWAP_UUID, SmallDisk
from tests.guests.tools import run

pytestmark = pytest.mark.appliance

_SWAP = 16 * MiB
_SECTORS_OVER = 7 * SECTOR


def digest(image: Path) -> str:
    return hashlib.sha256(image.read_bytes()).hexdigest()


def expand(host: Host, image: Path, *words: str) -> dict[str, object]:
    """Expand, and once more: the second time there is nothing to do and no byte changes."""
    answer = host.growdisk("expand", image, *words)
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert host.left_files() == []
    grown = digest(image)
    again = host.growdisk("expand", image)
    assert (again.code, again.result, digest(image)) == (0, "nochange", grown)
    return answer.document


def test_swap_is_dropped_and_a_users_own_snapshots_are_what_they_were(
    small_disk: DiskMaker, host: Host
) -> None:
    image = small_disk(
        "guest.qcow2", SmallDisk(size=256 * MiB, swap_size=_SWAP, qcow2_options="cluster_size=4k")
    )
    run("qemu-img", "snapshot", "-c", "mine", image)
    # free space of the file system
    run("qemu-io", "-f", "qcow2", "-c", f"write -P 7 {200 * MiB} 3M", image)
    run("qemu-img", "snapshot", "-c", "mine too", image)
    before = Before.of(image)
    snapshots = json.loads(run("qemu-img", "info", "--output=json", image))["snapshots"]

    document = expand(host, image, "+1G")
    assert document["given_up"] == ["sda5: swap partition of 16.0 MiB"]
    assert_grown(image, before)
    with as_raw(image, "qcow2") as raw:
        assert [part["node"] for part in sfdisk(raw)] == [f"{raw}1"]
    assert json.loads(run("qemu-img", "info", "--output=json", image))["snapshots"] == snapshots
    for name in ("mine", "mine too"):
        for file in (image, before.copy):
            run("qemu-img", "snapshot", "-a", name, file)
        assert_unchanged(image, before)  # its size too


def test_swap_is_moved_to_the_end_of_a_raw_disk_of_odd_size_and_no_file_changes(
    small_disk: DiskMaker, host: Host
) -> None:
    size = 256 * MiB + _SECTORS_OVER
    image = small_disk("guest.raw", SmallDisk(size=size, swap_size=_SWAP, image_format="raw"))
    before = Before.of(image, "raw")
    expand(host, image, "+1G", "--swap", "move")
    assert virtual_size(image) == size + (1 << 30)
    parts = {str(part["node"]).removeprefix(str(image)): part for part in sfdisk(image)}
    assert sorted(parts) == ["1", "2", "5"]
    assert (parts["2"]["type"], parts["5"]["type"]) == ("5", "82")
    start, sectors = (int(str(parts["5"][key])) for key in ("start", "size"))
    assert sectors * SECTOR == _SWAP
    probed = run("blkid", "-p", "-O", str(start * SECTOR), "-o", "export", image)
    assert "TYPE=swap" in probed and f"UUID={SWAP_UUID}" in probed
    assert_grown(image, before, up_to=int(str(parts["2"]["start"])) * SECTOR)
    assert differences(before.files, file_manifest(image, "raw")) == []


def test_swap_becomes_a_file_in_a_version_2_image(small_disk: DiskMaker, host: Host) -> None:
    image = small_disk(disk=SmallDisk(size=256 * MiB, swap_size=_SWAP, qcow2_options="compat=0.10"))
    before = Before.of(image)
    expand(host, image, "+1G", "--swap", "file")
    assert_grown(image, before, aside=("/", "/swapfile"))
    facts = file_manifest(image)
    assert (facts["/swapfile"].mode, facts["/swapfile"].size) == (0o100600, _SWAP)
    with as_raw(image, "qcow2") as raw:
        where, copy = f"{raw}?offset={MiB}", image.with_name("swapfile")
        run("debugfs", "-R", f"dump /swapfile {copy}", where)
        blocks = run("debugfs", "-R", "blocks /swapfile", where).split()
        fstab = run("debugfs", "-R", "cat /etc/fstab", where)
    # the kernel takes no file with holes
    assert len([block for block in blocks if block != "0"]) * 4096 >= _SWAP
    assert f'UUID="{SWAP_UUID}"' in run("blkid", "-p", copy)
    assert re.search(r"^/swapfile\s+none\s+swap\s", fstab, re.MULTILINE)
    assert SWAP_UUID not in fstab


def test_an_image_with_many_tables_is_kept_by_overlays_and_says_so(
    small_disk: DiskMaker, host: Host
) -> None:
    image = small_disk(disk=SmallDisk(size=400 * GiB, swap_size=_SWAP))
    run("qemu-img", "snapshot", "-c", "mine", image)
    snapshots = json.loads(run("qemu-img", "info", "--output=json", image))["snapshots"]
    before = Before.of(image)
    document = expand(host, image, "+10G")
    assert document["snapshots"] == "overlay"
    assert "tables" in str(document["notes"])
    assert_grown(image, before)
    assert json.loads(run("qemu-img", "info", "--output=json", image))["snapshots"] == snapshots


@dataclass(frozen=True)
class Case:
    """A disk, and what growdisk is asked for."""

    name: str
    disk: SmallDisk
    words: tuple[str, ...]
    partition: int = 1
    enlarged: bool = False


CASES = (
    Case(
        "an overlay on a backing file, by overlays of our own",
        SmallDisk(size=256 * MiB, swap_size=_SWAP, backed=True),
        ("+1G", "--snapshots", "overlay"),
    ),
    Case(
        "clusters of 2 MiB and a file system smaller than its partition, without a size",
        SmallDisk(
            Layout.PLAIN, size=512 * MiB, filesystem_size=200 * MiB, qcow2_options="cluster_size=2M"
        ),
        (),
    ),
    Case(
        "swap in front and a raw image that somebody enlarged before, without a size",
        SmallDisk(Layout.SWAP_FIRST, size=256 * MiB, swap_size=_SWAP, image_format="raw"),
        (),
        partition=2,
        enlarged=True,
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_file_system_fills_the_grown_disk(
    small_disk: DiskMaker, host: Host, case: Case
) -> None:
    kind = case.disk.image_format
    image = small_disk(f"guest.{kind}", case.disk)
    base = [digest(path) for path in image.parent.glob("*.base")]
    before = Before.of(image, kind, case.partition)
    if case.enlarged:
        run("qemu-img", "resize", "-q", "-f", kind, image, "+300M")
    expand(host, image, *case.words)
    assert_grown(image, before, partition=case.partition)
    assert (
        differences(before.files, file_manifest(image, kind, case.partition), aside=REPAIRED) == []
    )
    assert [digest(path) for path in image.parent.glob("*.base")] == base
