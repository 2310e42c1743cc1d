"""What Windows left in an NTFS: read by us, judged by ntfs-3g's own tools."""

from __future__ import annotations

import subprocess
from pathlib import Path

from growdisk.block.raw import RawFile
from growdisk.filesystems.content import NtfsContent
from growdisk.filesystems.identify import identify
from growdisk.units import MiB
from tests.guests.tools import run

_HIBERNATED, _CLEAN = 14, 0  # exit codes of ntfs-3g.probe(8)
_RECORD, _VOLUME = 1024, 3


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
