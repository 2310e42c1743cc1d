"""Images whose tables are named over and over: a check reads little more than the file.

Nor does compacting one, and neither takes time or memory without end.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from growdisk.api.images.checking import check_image
from growdisk.api.images.compacting import compact_image
from growdisk.block.raw import RawFile
from growdisk.errors import ImageDamaged, ImageUnsupported
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.image import Qcow2Image
from tests.fuzz.limited import in_limited_child
from tests.fuzz.verbs import time_limit
from tests.oracle.qemu import qemu_check, qemu_img, qemu_io

COPIED = 1 << 63
EXTENDED, DATA_FILE = "cluster_size=16k,extended_l2=on", "cluster_size=64k,data_file=data"
Entries = Callable[[int], list[int]]  # those of an L1 table, made from the one that there was

DAMAGE: dict[str, Entries] = {
    "the same": lambda entry: [entry] * 10_000,
    "beyond the end": lambda entry: [COPIED | 1 << 40 | i << 16 for i in range(10_000)],
    "not aligned": lambda entry: [COPIED | (entry & ~COPIED) + 512 * i for i in range(5_000)],
}


def counted_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the length of each read of a file from now on."""
    read, lengths = RawFile.read, list[int]()

    def counted(self: RawFile, offset: int, length: int) -> bytes:
        lengths.append(length)
        return read(self, offset, length)

    monkeypatch.setattr(RawFile, "read", counted)
    return lengths


def damaged(path: Path, options: str, entries: Entries) -> Path:
    """An image with a long L1 table at the file's end."""
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, path, "64M", directory=path.parent)
    qemu_io(path, *(f"write -q -P 1 {128 * number}k 16k" for number in range(400)))
    with path.open("r+b") as file:
        file.seek(40)
        file.seek(int.from_bytes(file.read(8), "big"))
        table = [entry.to_bytes(8, "big") for entry in entries(int.from_bytes(file.read(8), "big"))]
        end = file.seek(0, 2) + 65535 & ~65535
        file.seek(end)
        file.write(b"".join(table).ljust(4 << 16, b"\0"))
        file.seek(36)
        file.write(len(table).to_bytes(4, "big") + end.to_bytes(8, "big"))
    return path


@pytest.mark.parametrize(
    ("options", "damage"),
    [(EXTENDED, name) for name in DAMAGE] + [(DATA_FILE, "the same")],
)
def test_a_check_and_a_repair_read_no_table_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, damage: str
) -> None:
    monkeypatch.chdir(tmp_path)  # a data file lies there for QEMU
    path = damaged(tmp_path / "image.qcow2", options, DAMAGE[damage])
    lengths = counted_reads(monkeypatch)
    theirs, report = qemu_check(path)[1] if damage == "the same" else {}, check_image(path)
    with suppress(ImageDamaged):
        check_image(path, "all")
    assert sum(lengths) < 64 << 20
    assert report is not None
    if theirs and options == EXTENDED:  # QEMU does not look where a data file has its clusters
        assert (report.corruptions, report.leaks) == (theirs["corruptions"], theirs["leaks"])


def with_snapshots(
    path: Path, l1_bytes: int, count: int, *, apart: bool, options: str = "compat=1.1"
) -> Path:
    """An image whose snapshots name L1 tables after its end: one for all, or one for each."""
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, path, "64M")
    end = path.stat().st_size + 65535 & ~65535
    places = [end + number * l1_bytes * apart for number in range(count)]
    fixed = ((place, l1_bytes // 8, 1, 1, 0, 0, 0, 0, 16) for place in places)
    entry = b"".join(struct.pack(">QIHHIIQII16x2s6x", *fields, b"is") for fields in fixed)
    with path.open("r+b") as file:
        if not apart:
            file.seek(end)
            file.write(bytes(l1_bytes))
        table = file.seek(places[-1] + l1_bytes)
        file.write(entry)
        file.seek(60)
        file.write(struct.pack(">IQ", count, table))
    return path


@pytest.mark.parametrize(("l1_bytes", "apart"), [(1 << 20, False), (32 << 20, True)])
def test_a_check_reads_little_of_what_snapshots_without_end_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, l1_bytes: int, apart: bool
) -> None:
    """65536 of them may name one table, or holes of a sparse file."""
    path = with_snapshots(tmp_path / "image.qcow2", l1_bytes, 200, apart=apart)
    lengths = counted_reads(monkeypatch)
    report = check_image(path)
    assert sum(lengths) < 40 << 20
    assert report is not None
    assert report.has_errors
    assert any("lies where others are" in line for line in report.problems) is not apart


def test_clusters_that_are_not_counted_take_no_time_each(tmp_path: Path) -> None:
    """65 million of them, in a file of half a mebibyte."""
    path = with_snapshots(
        tmp_path / "image.qcow2", 32 << 20, 1000, apart=True, options="cluster_size=512"
    )
    began = time.process_time()
    report = check_image(path)
    assert time.process_time() - began < 20
    assert report is not None
    assert report.corruptions > 65_000_000
    first = int(report.problems[0].split()[1].rstrip(":"))
    wrong = "refcount 0, references 1"
    # All lines that are kept, one for each cluster.
    assert report.problems[:101] == (
        *(f"cluster {first + number}: {wrong}" for number in range(100)),
        "...",
    )


def test_tables_that_share_a_cluster_are_not_all_gone_through(tmp_path: Path) -> None:
    """One cluster of each of 1000 tables is another snapshot's too: 65 million are not."""
    path = with_snapshots(
        tmp_path / "image.qcow2", 32 << 20, 1000, apart=True, options="cluster_size=512"
    )
    with path.open("r+b") as file:
        file.seek(60)
        count, table = struct.unpack(">IQ", file.read(12))
        file.seek(table)
        entry = file.read(64)
        end = file.seek(0, 2)
        # The same number of snapshots again, with tables of one cluster inside those of the first.
        for number in range(count):
            place = int.from_bytes(entry[:8], "big") + number * (32 << 20) + 512
            file.write(struct.pack(">QI", place, 64) + entry[12:])
        assert end == table + 64 * count
        file.seek(60)
        file.write(struct.pack(">I", 2 * count))

    def action() -> list[str]:
        report = check_image(path)
        assert report is not None
        return [line for line in report.problems if "shares cluster" in line][:1]

    with time_limit(60.0):
        assert in_limited_child(action, tmp_path / "answer")


def test_an_image_whose_snapshots_name_too_much_of_tables_is_not_compacted(
    tmp_path: Path,
) -> None:
    path = with_snapshots(tmp_path / "image.qcow2", 32 << 20, 20, apart=True)
    repaired = check_image(path, "all")
    assert repaired is not None
    assert not repaired.has_errors
    assert qemu_check(path)[0] == 0

    def action() -> list[str]:
        with pytest.raises(ImageUnsupported, match="of its snapshots have 640"):
            compact_image(path)
        return []

    in_limited_child(action, tmp_path / "answer")
    assert qemu_check(path)[0] == 0


def test_compacting_reads_a_table_once_however_many_snapshots_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image.qcow2"
    create(path, 16 << 20, CreateOptions(cluster_size=4096, preallocation="metadata"))
    with Qcow2Image.open(path, writable=True) as image:
        for number in range(100):
            image.write(number << 16, b"x")
            image.create_snapshot(f"s{number}")
    lengths = counted_reads(monkeypatch)
    compact_image(path)
    # 108 tables, by the three passes and the two checks. For each snapshot it would be 1300.
    assert sum(length == 4096 for length in lengths) < 600
    assert qemu_check(path)[0] == 0
    with Qcow2Image.open(path) as image:
        seen = [image.snapshot_view(f"s{number}").read(50 << 16, 1) for number in (49, 50, 99)]
    assert seen == [b"\0", b"x", b"x"]


def named_in_a_hole(path: Path, what: str) -> Path:
    """An image that names 300 L2 tables, or refcount blocks, of 2 MiB in a hole at its end."""
    size = 2 << 20
    create(path, 300 * size * (size // 8), CreateOptions(cluster_size=size, refcount_bits=64))
    end = path.stat().st_size + size - 1 & -size
    names = [end + number * size for number in range(300)]
    with path.open("r+b") as file:
        file.seek(40 if what == "tables" else 48)
        table = int.from_bytes(file.read(8), "big")
        if what == "tables":
            file.seek(table)
            file.write(struct.pack(">300Q", *(COPIED | name for name in names)))
        else:
            file.seek(table + 8)  # after the block that there is
            file.write(struct.pack(">300Q", *names))
        file.truncate(end + 300 * size)
    return path


@pytest.mark.parametrize("what", ["tables", "blocks"])
def test_what_an_image_names_in_a_hole_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A file of 10 MiB can name a million such tables, in terabytes of nothing."""
    monkeypatch.setattr("growdisk.block.device._READ_ZEROS", 4 << 20)  # as after a gibibyte
    path = named_in_a_hole(tmp_path / "image.qcow2", what)
    lengths = counted_reads(monkeypatch)
    check_image(path)
    with suppress(ImageDamaged):
        check_image(path, "all")
    compact_image(path)
    with Qcow2Image.open(path, writable=True) as image:
        image.create_snapshot("one")
        image.delete_snapshot("one")
    assert sum(lengths) < 150 << 20
    assert qemu_check(path)[0] == 0
