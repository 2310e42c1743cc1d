"""A host file as a device: bytes, holes, size and refusals."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from growdisk.block import raw
from growdisk.block.device import Extent, ExtentKind
from growdisk.block.raw import RawFile
from growdisk.errors import ImageInUse, ImageNotReadable

MiB = 1 << 20
DATA, ZERO = ExtentKind.DATA, ExtentKind.ZERO


@pytest.fixture
def disk(tmp_path: Path):
    device = RawFile.create(tmp_path / "disk.raw", 8 * MiB)
    yield device
    device.close()


def test_what_was_written_is_read_back_and_the_rest_is_zeros(disk: RawFile):
    disk.write(MiB - 3, b"abcdef")
    assert disk.read(MiB - 5, 10) == b"\0\0abcdef\0\0"
    assert disk.path.read_bytes()[MiB - 3 : MiB + 3] == b"abcdef"


@pytest.mark.parametrize(("offset", "length"), ((8 * MiB - 1, 2), (-1, 1), (9 * MiB, 0), (0, -1)))
def test_a_range_that_leaves_the_device_is_refused(disk: RawFile, offset: int, length: int):
    with pytest.raises(ValueError, match="leaves a device"):
        disk.read(offset, length)
    with pytest.raises(ValueError, match="leaves a device"):
        disk.write_zeros(offset, length)


def test_a_write_over_the_end_writes_nothing(disk: RawFile):
    with pytest.raises(ValueError, match="leaves a device"):
        disk.write(8 * MiB - 4, b"12345")
    assert disk.path.read_bytes() == bytes(8 * MiB)


def test_holes_and_data_are_extents_that_cover_the_range(disk: RawFile):
    disk.write(2 * MiB, bytes(range(256)) * 4096)
    assert list(disk.extents(0, 8 * MiB)) == [
        Extent(0, 2 * MiB, ZERO),
        Extent(2 * MiB, 3 * MiB, DATA),
        Extent(3 * MiB, 8 * MiB, ZERO),
    ]
    assert list(disk.extents(2 * MiB + 5, 10)) == [Extent(2 * MiB + 5, 2 * MiB + 15, DATA)]
    assert list(disk.extents(5 * MiB, 0)) == []


def test_zeros_make_a_hole_and_spare_their_neighbours(disk: RawFile):
    disk.write(0, b"x" * 3 * MiB)
    before = disk.path.stat().st_blocks
    disk.write_zeros(1000, 2 * MiB)
    assert disk.read(0, 3 * MiB) == b"x" * 1000 + bytes(2 * MiB) + b"x" * (MiB - 1000)
    assert disk.path.stat().st_blocks < before
    assert disk.size == 8 * MiB


def test_zeros_are_written_where_no_hole_can_be_made(
    disk: RawFile, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(RawFile, "_fallocate", lambda *_: False)
    disk.write(0, b"x" * 5 * MiB)
    disk.write_zeros(100, 3 * MiB + 7)
    assert disk.read(0, 5 * MiB) == b"x" * 100 + bytes(3 * MiB + 7) + b"x" * (2 * MiB - 107)


def test_resizing_cuts_off_and_extends_with_zeros(disk: RawFile):
    disk.write(0, b"x" * 2 * MiB)
    disk.resize(MiB)
    disk.resize(2 * MiB)
    assert disk.size == disk.path.stat().st_size == 2 * MiB
    assert disk.read(0, 2 * MiB) == b"x" * MiB + bytes(MiB)


def test_reserving_blocks_keeps_the_content(disk: RawFile):
    disk.write(0, b"abc")
    disk.allocate(0, 9 * MiB)
    assert (disk.size, disk.read(0, 4)) == (9 * MiB, b"abc\0")
    assert disk.path.stat().st_blocks * 512 >= 9 * MiB


def test_a_file_that_became_shorter_is_an_error_and_not_an_endless_loop(disk: RawFile):
    os.truncate(disk.path, MiB)
    with pytest.raises(OSError, match="became shorter"):
        disk.read(0, 2 * MiB)


def test_a_missing_file_a_directory_and_a_pipe_are_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing", "pipe", "."):
        with pytest.raises(ImageNotReadable):
            RawFile.open(tmp_path / name)


def test_a_file_that_is_replaced_before_it_is_locked_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, new, lock_image = tmp_path / "disk", tmp_path / "new", raw.lock_image
    path.write_bytes(bytes(512))
    new.write_bytes(b"new".ljust(512))

    def late(fd: int, path: Path, *, writing: bool) -> None:
        new.rename(path)  # by a process that had the lock so far
        lock_image(fd, path, writing=writing)

    monkeypatch.setattr(raw, "lock_image", late)
    with pytest.raises(ImageInUse, match="replacing it"):
        RawFile.open(path, writable=True)


def test_an_existing_file_is_never_created_over(disk: RawFile):
    with pytest.raises(FileExistsError):
        RawFile.create(disk.path, MiB)
    assert disk.path.stat().st_size == 8 * MiB


def test_a_file_opened_for_reading_is_not_writable(disk: RawFile):
    disk.close()
    reader = RawFile.open(disk.path)
    assert not reader.writable
    with pytest.raises(OSError, match="Bad file descriptor"):
        reader.write(0, b"x")
    reader.close()


def test_closing_twice_is_harmless(disk: RawFile):
    disk.close()
    disk.close()


def test_whatever_changed_the_file_is_made_durable_once_and_only_once(
    disk: RawFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    syncs: list[int] = []
    monkeypatch.setattr(os, "fdatasync", syncs.append)
    other = RawFile.create(tmp_path / "other", disk.size)
    disk.flush()  # a process that died before may have left something
    assert len(syncs) == 1
    changes = (
        lambda: disk.write(0, b"x"), lambda: disk.write_zeros(0, 4096),
        lambda: disk.discard(0, 4096),
        lambda: disk.resize(disk.size + 512), lambda: disk.allocate(0, 4096),
        lambda: disk.reserve(0, 4096),
        lambda: disk.copy_from(other, 0, 4096),
    )  # fmt: skip
    for number, change in enumerate(changes, 2):
        change()
        disk.flush()
        disk.flush()
        assert len(syncs) == number
    other.close()


def test_a_range_is_copied_to_another_place_of_another_file(disk: RawFile, tmp_path: Path):
    other = RawFile.create(tmp_path / "other", disk.size)
    disk.write(4096, b"x" * 4096)
    other.copy_from(disk, 4000, 5000, move=MiB)
    assert other.read(MiB + 4000, 5000) == disk.read(4000, 5000)
    with pytest.raises(ValueError, match="leaves a device"):
        other.copy_from(disk, 0, 8 * MiB, move=1)
    other.close()


def test_what_is_sent_to_the_disk_early_is_whole_and_still_has_to_be_synced(
    disk: RawFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    other = RawFile.create(tmp_path / "other", 64 * MiB)
    other.write_behind()
    for start in range(0, 40 * MiB, MiB):
        other.write(start, bytes([start // MiB]) * MiB)
    other.copy_from(disk, 0, 8 * MiB, move=48 * MiB)
    syncs: list[int] = []
    monkeypatch.setattr(os, "fdatasync", syncs.append)
    other.flush()
    assert len(syncs) == 1
    assert all(
        other.read(start, MiB) == bytes([start // MiB]) * MiB for start in range(0, 40 * MiB, MiB)
    )
    other.close()


def test_what_a_failed_sync_left_is_synced_again(disk: RawFile, monkeypatch: pytest.MonkeyPatch):
    def fail(_fd: int) -> None:
        raise OSError(5, "no")

    monkeypatch.setattr(os, "fdatasync", fail)
    for _ in range(2):
        with pytest.raises(OSError, match="no"):
            disk.flush()


@pytest.mark.parametrize("end", ["flush", "close"])
def test_a_file_that_grows_bit_by_bit_ends_with_its_disk_when_that_matters(
    tmp_path: Path, end: str
) -> None:
    path = tmp_path / "growing"
    disk = RawFile.create(path)
    disk.write_behind()
    for size in (MiB, 2 * MiB, 90 * MiB, 3 * MiB, 5 * MiB):
        disk.resize(size)
        assert disk.size == size
        assert disk.read(size - 512, 512) == bytes(512)
    disk.write(0, b"\1" * 512)
    getattr(disk, end)()
    assert path.stat().st_size == 5 * MiB
    disk.close()
    assert path.stat().st_size == 5 * MiB


def test_a_host_that_allows_no_more_than_the_file_needs_is_enough(tmp_path: Path) -> None:
    disk = RawFile.create(tmp_path / "growing")
    disk.write_behind()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * MiB, hard))
    try:
        disk.resize(3 * MiB)
        with pytest.raises(OSError, match="large"):
            disk.resize(4 * MiB)
        assert disk.size == 3 * MiB
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        disk.close()
    assert (tmp_path / "growing").stat().st_size == 3 * MiB
