"""Damaged images whose tables are named over and over: a check reads little more than the file."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from growdisk.api.images.checking import check_image
from growdisk.block.raw import RawFile
from growdisk.errors import ImageDamaged
from tests.oracle.qemu import qemu_check, qemu_img, qemu_io

COPIED = 1 << 63
EXTENDED, DATA_FILE = "cluster_size=16k,extended_l2=on", "cluster_size=64k,data_file=data"
Entries = Callable[[int], list[int]]  # those of an L1 table, made from the one that there was

DAMAGE: dict[str, Entries] = {
    "the same": lambda entry: [entry] * 10_000,
    "beyond the end": lambda entry: [COPIED | 1 << 40 | i << 16 for i in range(10_000)],
    "not aligned": lambda entry: [COPIED | (entry & ~COPIED) + 512 * i for i in range(5_000)],
}


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
    read, lengths = RawFile.read, list[int]()

    def counted(self: RawFile, offset: int, length: int) -> bytes:
        lengths.append(length)
        return read(self, offset, length)

    monkeypatch.setattr(RawFile, "read", counted)
    theirs, report = qemu_check(path)[1] if damage == "the same" else {}, check_image(path)
    with suppress(ImageDamaged):
        check_image(path, "all")
    assert sum(lengths) < 64 << 20
    assert report is not None
    if theirs and options == EXTENDED:  # QEMU does not look where a data file has its clusters
        assert (report.corruptions, report.leaks) == (theirs["corruptions"], theirs["leaks"])


def with_snapshots(path: Path, l1_bytes: int, count: int, *, apart: bool) -> Path:
    """An image whose snapshots name L1 tables after its end: one for all, or one for each."""
    qemu_img("create", "-q", "-f", "qcow2", path, "64M")
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
    read, lengths = RawFile.read, list[int]()

    def counted(self: RawFile, offset: int, length: int) -> bytes:
        lengths.append(length)
        return read(self, offset, length)

    monkeypatch.setattr(RawFile, "read", counted)
    report = check_image(path)
    assert sum(lengths) < 40 << 20
    assert report is not None
    assert report.has_errors
    assert any("lies where others are" in line for line in report.problems) is not apart
