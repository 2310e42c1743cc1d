"""Writing past the host's cache: what reaches the file, and what goes through the cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from growdisk.block import direct_io, raw
from growdisk.block.raw import RawFile

KiB, MiB = 1 << 10, 1 << 20


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One whose host's cache has turned out to be slow."""
    device = RawFile.create(tmp_path / "disk.raw", 8 * MiB)
    device.write_behind()
    with monkeypatch.context() as slow:
        slow.setattr(raw, "_SENT_AT_ONCE", 4 * MiB)
        slow.setattr(raw, "_SLOW_COPY", 0)
        device.write(4 * MiB, b"\1" * 4 * MiB)
    device.write_zeros(0, 8 * MiB)
    yield device
    device.close()


def filled(length: int) -> bytearray:
    buffer = direct_io.aligned(length)
    buffer[:] = os.urandom(length)
    return buffer


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("length", [MiB, 2 * MiB, 4096, 5000, 0])
def test_an_aligned_buffer_is_all_zeros_and_as_long_as_asked(length: int) -> None:
    assert direct_io.aligned(length) == bytes(length)


def test_only_a_slow_cache_is_passed_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed = []
    monkeypatch.setattr(direct_io, "reopen_direct", passed.append)
    monkeypatch.setattr(raw, "_SENT_AT_ONCE", 4 * MiB)
    device = RawFile.create(tmp_path / "disk.raw", 64 * MiB)
    device.write_behind()
    monkeypatch.setattr(raw, "_SLOW_COPY", 1)  # a second for a byte: whatever it takes is quick
    for start in range(0, 32 * MiB, MiB):
        device.write(start, b"\1" * MiB)
    assert not passed
    monkeypatch.setattr(raw, "_SLOW_COPY", 0)
    for start in range(32 * MiB, 35 * MiB, MiB):
        device.write(start, b"\1" * MiB)
    assert not passed  # too little is known yet
    device.write(35 * MiB, b"\1" * MiB)
    assert passed == [device._fd]
    device.close()


def test_on_a_disk_of_this_host_a_large_piece_goes_past_the_cache(disk: RawFile) -> None:
    descriptor = direct_io.reopen_direct(disk._fd)
    assert (descriptor is None) == (os.major(disk.path.stat().st_dev) == 0)
    if descriptor is None:
        return  # in memory, say
    buffer = filled(MiB)
    assert direct_io.write_direct(descriptor, 4096, memoryview(buffer)) == MiB
    assert disk.read(4096, MiB) == buffer
    assert direct_io.write_direct(descriptor, 0, memoryview(buffer)[: MiB - 100]) == MiB - 4096
    assert disk.read(0, MiB - 4096) == buffer[: MiB - 4096]
    os.close(descriptor)


@pytest.mark.parametrize(
    ("offset", "front", "length"),
    [
        (0, 0, 2 * MiB),
        (0, 0, 2 * MiB - 3),
        (512, 0, MiB),
        (4096, 512, MiB),
        (8192, 1, MiB),
        (4096, 0, 8 * KiB),
    ],
)
def test_every_piece_is_written_whole_wherever_it_lies(
    disk: RawFile, offset: int, front: int, length: int
) -> None:
    data = filled(2 * MiB + 4096)
    disk.write(offset, memoryview(data)[front : front + length])
    assert disk.read(offset, length) == data[front : front + length]
    assert not any(disk.read(offset + length, 4096))
    disk.flush()
    assert disk.path.read_bytes()[offset : offset + length] == data[front : front + length]


def test_what_the_cache_has_and_what_goes_past_it_are_one_file(disk: RawFile) -> None:
    data = filled(MiB)
    disk.write(100, b"before")  # in the cache, dirty
    disk.write(0, memoryview(data))
    assert disk.read(0, MiB) == data
    disk.write(MiB - 3, b"behind")  # in part over what went past it
    assert disk.read(MiB - 5, 10) == bytes(data[-5:-3]) + b"behind" + b"\0\0"


def test_a_file_that_refuses_to_be_written_so_is_written_through_the_cache(
    disk: RawFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    through, data = os.pwrite, filled(MiB)

    def pwrite(fd: int, piece: memoryview, offset: int) -> int:
        if fd != disk._fd:
            raise OSError(22, "Invalid argument")
        return through(fd, piece, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    disk.write(0, memoryview(data))
    assert disk.read(0, MiB) == data


def test_no_room_is_told_at_once(disk: RawFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(_fd: int, _piece: memoryview, _offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(OSError, match="No space"):
        disk.write(0, memoryview(direct_io.aligned(MiB)))


def test_both_descriptors_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = descriptors()
    device = RawFile.create(tmp_path / "closed", 4 * MiB)
    device.write_behind()
    monkeypatch.setattr(raw, "_SENT_AT_ONCE", 4 * MiB)
    monkeypatch.setattr(raw, "_SLOW_COPY", 0)
    device.write(0, b"\1" * 4 * MiB)
    device.close()
    device.close()
    assert descriptors() == before


def test_a_file_in_memory_has_no_disk_to_write_to(tmp_path: Path) -> None:
    descriptor = os.memfd_create("disk")
    try:
        assert direct_io.reopen_direct(descriptor) is None
        with (tmp_path / "other").open("wb") as other:
            assert not direct_io.clone(descriptor, other.fileno())
    finally:
        os.close(descriptor)
