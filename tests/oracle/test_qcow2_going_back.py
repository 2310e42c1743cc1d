"""Going back over several snapshots at once, as a run is rolled back. qemu-img judges."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.qcow2.image import Qcow2Image
from tests.oracle.qemu import qemu_check, qemu_img, qemu_io

KIB, MIB = 1 << 10, 1 << 20


@pytest.mark.parametrize("options", ["cluster_size=64k", "cluster_size=4k", "compat=0.10"])
def test_what_was_written_again_in_part_since_the_second_snapshot_goes_with_it(
    tmp_path: Path, options: str
) -> None:
    """The disk kept the middle of clusters at the file's end that the snapshot had as a whole."""
    path = tmp_path / "image.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, path, "64M")
    qemu_io(path, "write -P 1 0 256k")
    with Qcow2Image.open(path, writable=True) as image:
        image.create_snapshot("first")
        image.write(8 * MIB, b"\2" * 2 * MIB)
        image.create_snapshot("second")
        image.write(8 * MIB, b"\3" * 512 * KIB)
        image.write(8 * MIB + 1536 * KIB, b"\4" * 512 * KIB)
    with Qcow2Image.open(path, writable=True) as image:
        assert image.go_back_to("first", ("second",))
        assert image.snapshots() == ()
    assert qemu_check(path)[0] == 0
    qemu_io(path, "read -P 1 0 256k", "read -P 0 256k 60M")
    assert path.stat().st_size < 2 * MIB
