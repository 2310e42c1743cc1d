"""Going back over several snapshots at once, as a run is rolled back. qemu-img judges."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.errors import ImageDamaged
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
        assert image.revert_to("first", ("second",))
        assert image.snapshots() == ()
    assert qemu_check(path)[0] == 0
    qemu_io(path, "read -P 1 0 256k", "read -P 0 256k 60M")
    assert path.stat().st_size < 2 * MIB


def with_counts(path: Path, counts: dict[int, int]) -> bytes:
    """The image's bytes, once these clusters have these counts (of 16 bits, in the first block)."""
    raw = bytearray(path.read_bytes())
    table = int.from_bytes(raw[48:56], "big")
    block = int.from_bytes(raw[table : table + 8], "big")
    for cluster, count in counts.items():
        raw[block + 2 * cluster : block + 2 * cluster + 2] = count.to_bytes(2, "big")
    path.write_bytes(raw)
    return bytes(raw)


@pytest.mark.parametrize("count", [1, 2])
def test_a_cluster_of_three_disks_that_is_not_counted_for_all_is_found_before_any_change(
    tmp_path: Path, count: int
) -> None:
    """Each disk alone finds it counted; the header was written before the count was too low."""
    path = tmp_path / "image.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", path, "64M")
    qemu_io(path, "write -P 1 0 256k")
    qemu_img("snapshot", "-c", "first", path)
    qemu_img("snapshot", "-c", "second", path)
    with Qcow2Image.open(path) as image:
        cluster = next(image.runs(0, 1)).host >> 16
    raw = with_counts(path, {cluster: count})
    actions = [lambda image: image.revert_to("first", ("second",))]
    if count == 1:  # with 2, the disk that stays is wrong alone, and is not looked at
        actions.append(lambda image: image.forget_newest_snapshots(("first", "second")))
    for action in actions:
        with pytest.raises(ImageDamaged), Qcow2Image.open(path, writable=True) as image:
            action(image)
        assert path.read_bytes() == raw


def test_a_snapshot_whose_table_is_the_disks_own_is_not_deleted(tmp_path: Path) -> None:
    path = tmp_path / "image.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", path, "64M")
    qemu_io(path, "write -P 1 0 256k")
    qemu_img("snapshot", "-c", "one", path)
    raw = bytearray(path.read_bytes())
    entry = int.from_bytes(raw[64:72], "big")
    raw[entry : entry + 8] = raw[40:48]  # its L1 table is the active one
    path.write_bytes(raw)
    for action in (
        lambda image: image.delete_snapshot("one"),
        lambda image: image.forget_newest_snapshots(("one",)),
        lambda image: image.revert_to("one", ()),
    ):
        with pytest.raises(ImageDamaged), Qcow2Image.open(path, writable=True) as image:
            action(image)
        assert path.read_bytes() == raw
