"""How full a file system is at rest, by its superblock: what df reports of it when mounted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.guests.tools import run
from tests.hosts.machine import HostMachine, host_machine
from tests.unit.filesystems.reading import content_of

pytestmark = pytest.mark.appliance
SIZE, FILE = 700 * MiB, 250 * MiB
EXT = "mkfs.ext4 -q -F"
# How many of a hundred they may be apart: XFS counts what its trees may need, F2FS its sections.
MADE: Mapping[str, tuple[str, float]] = {
    "ext4": (EXT, 0.01), "small-blocks": (f"{EXT} -b 1024", 0.01),
    "for-root": (f"{EXT} -m 30", 0.01),
    "bigalloc": (f"{EXT} -O bigalloc", 0.01),
    "meta_bg": (f"{EXT} -b 1024 -O meta_bg,^resize_inode", 0.01),
    "sparse_super2": (f"{EXT} -O sparse_super2", 0.01), "ext3": ("mkfs.ext3 -q -F", 0.01),
    "no-journal": (f"{EXT} -O ^has_journal", 0.01), "xfs": ("mkfs.xfs -q", 1),
    "f2fs": ("mkfs.f2fs -q", 1),
    "vfat": ("mkfs.vfat", 0.5),
}  # fmt: skip


def test_it_is_as_full_at_rest_as_df_says(tmp_path: Path) -> None:
    images = [made(tmp_path / name, words) for name, (words, _) in MADE.items()]
    with host_machine(*images) as host:
        told = {
            image.name: filled(host, f"/dev/ubd{chr(ord('a') + n)}")
            for n, image in enumerate(images)
        }
    found = {image.name: 100 * (content_of(image).fullness or 0) for image in images}
    assert min(told.values()) > 30
    assert found == {
        name: pytest.approx(told[name], abs=apart) for name, (_, apart) in MADE.items()
    }


def made(image: Path, words: str) -> Path:
    image.touch()
    os.truncate(image, SIZE)
    run(*words.split(), image)
    return image


def filled(host: HostMachine, device: str) -> float:
    """Percent of what users may fill, once a file is in it."""
    said = host.sh(
        f"mkdir -p /tmp/m; mount {device} /tmp/m; fallocate -l {FILE} /tmp/m/file || "
        f"dd if=/dev/zero of=/tmp/m/file bs=1M count={FILE // MiB} status=none; sync; df -Pk "
        "/tmp/m; umount /tmp/m"
    )
    used, free = map(int, said.splitlines()[-1].split()[2:4])
    return 100 * used / (used + free)
