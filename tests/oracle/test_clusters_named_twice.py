"""Images in which one disk names a host cluster several times: sound for qemu-img check."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.qcow2.header import Header
from tests.oracle.damage import OFFSETS, change, first_l2_table, set_refcount
from tests.oracle.layered import seen
from tests.oracle.qemu import qemu_check, qemu_img, qemu_io
from tests.oracle.verbs import image, make

KiB = 1 << 10
CLUSTERS = 250  # of 4 KiB: one L2 table names twice as many


def named_twice(path: Path, written: int) -> Path:
    """Every fourth of its clusters is named by a second entry; the counts are right."""
    chance = random.Random(written)
    places = chance.sample(range(0, 2 * CLUSTERS, 2), written)
    writes = [f"write -q -P {place % 250 + 1} {place * 4}k 4k" for place in places]
    make(path, *writes, size=f"{8 * CLUSTERS}k", options="cluster_size=4k")

    def double(file: RawFile, header: Header, _: random.Random) -> None:
        for place in places[::4]:
            entry = first_l2_table(file, header) + 8 * place
            offset = int.from_bytes(file.read(entry, 8), "big") & OFFSETS
            # Neither is alone now, so COPIED goes.
            file.write(entry, offset.to_bytes(8, "big"))
            file.write(entry + 8, offset.to_bytes(8, "big"))
            set_refcount(file, header, offset >> 12, 2)

    change(path, double)
    assert qemu_check(path)[0] == 0
    return path


@pytest.mark.parametrize("written", [20, 200])  # a few runs in its table, or many
@pytest.mark.parametrize("shared", [False, True], ids=["alone", "snapshot"])
def test_it_is_compacted(tmp_path: Path, written: int, shared: bool) -> None:
    path = named_twice(tmp_path / "image.qcow2", written)
    if shared:
        qemu_img("snapshot", "-c", "theirs", path)
        qemu_io(path, "write -P 7 0 200k", "discard 300k 100k")
    before = seen(path)
    assert image("compact", path) == 0
    assert (seen(path), qemu_check(path)[0]) == (before, 0)


@pytest.mark.parametrize("written", [20, 200])
def test_a_snapshot_is_taken_gone_back_to_and_deleted(tmp_path: Path, written: int) -> None:
    path = named_twice(tmp_path / "image.qcow2", written)
    copy = shutil.copy(path, tmp_path / "copy.qcow2")
    before = seen(path)
    assert image("snapshot", "create", path, "ours") == 0
    assert qemu_check(path)[0] == 0
    (tmp_path / "data").write_bytes(b"x" * 100 * KiB)
    assert image("write", path, "64k", tmp_path / "data") == 0
    assert (seen(path) != before, qemu_check(path)[0]) == (True, 0)
    assert image("snapshot", "apply", path, "ours") == 0
    assert image("snapshot", "delete", path, "ours") == 0
    assert (seen(path), seen(Path(copy)), qemu_check(path)[0]) == (before, before, 0)


def test_counted_too_low_for_that_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = named_twice(tmp_path / "image.qcow2", 20)

    def once(file: RawFile, header: Header, _: random.Random) -> None:
        table = file.read(first_l2_table(file, header), 4 * KiB)
        for place in range(0, len(table), 8):
            offset = int.from_bytes(table[place : place + 8], "big") & OFFSETS
            set_refcount(file, header, offset >> 12, 1)

    change(path, once)
    damaged = path.read_bytes()
    assert image("snapshot", "create", path, "ours") == 3
    assert "in use 2 times and its reference count is 1" in capsys.readouterr().err
    assert path.read_bytes() == damaged
