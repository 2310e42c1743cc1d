"""What Windows left in an NTFS: read by us, judged by ntfs-3g's own tools."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.filesystems.content import NtfsContent
from growdisk.filesystems.identify import identify
from growdisk.units import MiB
from tests.guests.tools import run
from tests.unit.cli.command import in_process

_HIBERNATED, _CLEAN = 14, 0  # exit codes of ntfs-3g.probe(8)
_RECORD, _LOG, _VOLUME, _BAD = 1024, 2, 3, 8
_DATA, _END = 0x80, b"\xff" * 4


def made(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(32 * MiB)
    run("mkntfs", "-F", "-q", "-f", "-L", "größe", path)
    return path


def state(path: Path) -> NtfsContent:
    device = RawFile.open(path, lock=False)
    try:
        content = identify(device)
    finally:
        device.close()
    assert isinstance(content, NtfsContent), content
    return content


def probe(path: Path) -> int:
    return subprocess.run(["ntfs-3g.probe", "--readwrite", path], capture_output=True).returncode


def test_a_clean_one_is_clean_and_has_its_label(tmp_path: Path) -> None:
    disk = made(tmp_path / "ntfs")
    content = state(disk)
    assert (content.label, content.dirty, content.hibernated) == ("größe", False, False)
    assert probe(disk) == _CLEAN


def test_a_sleeping_windows_is_seen_among_many_files(tmp_path: Path) -> None:
    disk, memory = made(tmp_path / "ntfs"), tmp_path / "memory"
    memory.write_bytes(b"hibr" + bytes(8188))
    for number in range(40):  # so many that the folder's index needs blocks of its own
        run("ntfscp", "-q", disk, memory, f"file {number}")
    assert not state(disk).hibernated
    run("ntfscp", "-q", disk, memory, "hiberfil.sys")
    assert state(disk).hibernated
    assert probe(disk) == _HIBERNATED


@pytest.mark.parametrize(
    ("name", "is_system"), [("BOOTMGR", True), ("Windows", True), ("ntldr", True), ("data", False)]
)
def test_a_volume_that_windows_starts_from_is_told_from_data(
    tmp_path: Path, name: str, is_system: bool
) -> None:
    disk, file = made(tmp_path / "ntfs"), tmp_path / "file"
    file.write_bytes(b"x")
    run("ntfscp", "-q", disk, file, name)
    assert state(disk).system == is_system


def test_a_windows_that_woke_up_is_none(tmp_path: Path) -> None:
    disk, memory = made(tmp_path / "ntfs"), tmp_path / "memory"
    memory.write_bytes(bytes(8192))
    run("ntfscp", "-q", disk, memory, "hiberfil.sys")
    assert not state(disk).hibernated
    assert probe(disk) == _CLEAN


def test_one_to_be_checked_is_dirty(tmp_path: Path) -> None:
    disk = made(tmp_path / "ntfs")
    # asks for a check, as any resizing does
    run("ntfsresize", "--no-progress-bar", "-ff", "-s", "30M", disk)
    assert state(disk).dirty
    told = subprocess.run(["ntfsresize", "--info", disk], capture_output=True, text=True)
    assert told.returncode != 0 and "scheduled for check" in told.stderr + told.stdout


def test_one_whose_files_cannot_be_read_counts_as_dirty(tmp_path: Path) -> None:
    disk = made(tmp_path / "ntfs")
    raw = bytearray(disk.read_bytes())
    table = int.from_bytes(raw[0x30:0x38], "little") * 4096
    raw[table + _VOLUME * _RECORD : table + _VOLUME * _RECORD + 4] = b"BAAD"
    disk.write_bytes(raw)
    assert state(disk).dirty


@pytest.mark.parametrize("stream", [False, True], ids=["alone", "beside a stream"])
def test_a_sleeping_windows_is_seen_if_its_memory_is_listed_in_another_record(
    tmp_path: Path, stream: bool
) -> None:
    disk, memory = made(tmp_path / "ntfs"), tmp_path / "memory"
    memory.write_bytes(bytes(8192))
    for name in ("hiberfil.sys", "spare"):
        run("ntfscp", "-q", disk, memory, name)
    numbers = record_of(disk, "hiberfil.sys"), record_of(disk, "spare")
    if stream:
        (tmp_path / "note").write_bytes(b"x")
        run("ntfscp", "-q", "-N", "note", disk, tmp_path / "note", "hiberfil.sys")
    memory.write_bytes(b"hibr" + bytes(8188))
    run("ntfscp", "-q", disk, memory, "hiberfil.sys")
    image = bytearray(disk.read_bytes())
    move_content(image, *numbers)
    disk.write_bytes(image)
    assert probe(disk) == _HIBERNATED
    assert state(disk).hibernated


def test_a_log_without_content_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    disk = made(tmp_path / "ntfs")
    image = bytearray(disk.read_bytes())
    own = Record(image, _LOG)
    own.put([raw for raw in own.attributes if raw[0] != _DATA])
    disk.write_bytes(image)
    assert state(disk).dirty


def test_one_with_bad_clusters_is_refused_as_ntfsresize_does(tmp_path: Path) -> None:
    """As a clone of a disk of hardware has them. The runs: a hole, one cluster, a hole."""
    disk = made(tmp_path / "ntfs")
    assert not state(disk).has_bad_clusters
    assert in_process("plan", disk, "+32M").code == 0
    image = bytearray(disk.read_bytes())
    own = Record(image, _BAD)
    *others, stream = own.attributes
    at, clusters = stream[0x20], int.from_bytes(stream[0x18:0x20], "little") + 1
    first, rest = 100, (clusters - 101).to_bytes(2, "little")
    runs = bytes((1, first, 0x11, 1, first, 2)) + rest + bytes(8)
    stream = stream[:4] + (at + len(runs)).to_bytes(4, "little") + stream[8:at] + runs
    own.put([*others, stream])
    disk.write_bytes(image)
    told = subprocess.run(["ntfsresize", "--info", disk], capture_output=True, text=True)
    assert "bad sector" in told.stdout + told.stderr
    assert state(disk).has_bad_clusters
    assert told.returncode == 1
    assert "marked as bad" in in_process("plan", disk, "+32M").err


class Record:
    """The attributes of a file, to be changed in `image`."""

    def __init__(self, image: bytearray, number: int) -> None:
        self.image, self.number = image, number
        self.at = int.from_bytes(image[0x30:0x38], "little") * 4096 + number * _RECORD
        raw = image[self.at : self.at + _RECORD]
        sequence = int.from_bytes(raw[4:6], "little")
        for sector in (1, 2):  # the fix-ups
            fixed = raw[sequence + 2 * sector :][:2]
            raw[sector * 512 - 2 : sector * 512] = fixed
        self.head = raw[: int.from_bytes(raw[0x14:0x16], "little")]
        self.attributes, at = [], len(self.head)
        while raw[at : at + 4] != _END:
            length = int.from_bytes(raw[at + 4 : at + 8], "little")
            self.attributes.append(bytes(raw[at : at + length]))
            at += length

    @property
    def reference(self) -> int:
        return self.number | int.from_bytes(self.head[0x10:0x12], "little") << 48

    def put(self, attributes: list[bytes]) -> None:
        raw = bytearray(self.head + b"".join(attributes) + _END + bytes(4))
        struct.pack_into("<I", raw, 0x18, len(raw))
        raw += bytes(_RECORD - len(raw))
        sequence = int.from_bytes(raw[4:6], "little")
        for sector in (1, 2):
            end = slice(sector * 512 - 2, sector * 512)
            raw[sequence + 2 * sector : sequence + 2 * sector + 2] = raw[end]
            raw[end] = raw[sequence : sequence + 2]
        self.image[self.at : self.at + _RECORD] = raw


def move_content(image: bytearray, number: int, spare: int) -> None:
    """The unnamed $DATA of a file into a record of its own, with a list of attributes."""
    own, other = Record(image, number), Record(image, spare)
    moved = next(raw for raw in own.attributes if raw[0] == _DATA and not raw[9])
    kept = [raw for raw in own.attributes if raw is not moved]
    entries = b""
    for raw in sorted([*kept, moved], key=lambda raw: (raw[0], raw[9])):
        name_at = int.from_bytes(raw[10:12], "little")
        name = raw[name_at : name_at + 2 * raw[9]]
        place = other if raw is moved else own
        length = 0x1A + len(name) + 7 & ~7
        entry = struct.pack("<IHBBQQ", raw[0], length, raw[9], 0x1A, 0, place.reference)
        entries += (entry + raw[14:16] + name).ljust(length, b"\0")
    head = struct.pack("<IIBBHHHIHBB", 0x20, 0x18 + len(entries), 0, 0, 0x18, 0, 99,
        len(entries), 0x18, 0, 0)  # fmt: skip
    struct.pack_into("<H", own.head, 0x28, 100)  # the next instance
    own.put([kept[0], head + entries, *kept[1:]])
    struct.pack_into("<H", other.head, 0x12, 0)  # nothing links to it
    struct.pack_into("<Q", other.head, 0x20, own.reference)
    other.put([moved])


def record_of(disk: Path, name: str) -> int:
    said = run("ntfsinfo", "-F", name, disk)
    return int(said.split("Dumping Inode ")[1].split()[0])
