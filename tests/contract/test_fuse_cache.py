"""What tools see through FUSE while others write, and how often the device is asked."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.block.fuse import FuseFolder
from growdisk.block.raw import RawFile
from growdisk.block.window import Window
from growdisk.host.fuse_mount import mounted
from growdisk.steps.disk import Disk
from growdisk.units import MiB

_SIZE = 4 * MiB


class Counting(Window):
    """Counts what is read."""

    def __init__(self, disk: Disk, start: int = 0, size: int = _SIZE) -> None:
        super().__init__(disk, start, size)
        self.bytes_read = 0

    def read(self, offset: int, length: int) -> bytes:
        self.bytes_read += length
        return super().read(offset, length)


class Shown:
    def __init__(
        self, disk: Disk, place: Path, folder: FuseFolder, files: dict[str, Counting]
    ) -> None:
        self.disk, self.folder, self.files = disk, folder, files
        self._place = place

    def read(self, name: str = "part") -> bytes:
        return (self._place / name).read_bytes()

    def write(self, offset: int, data: bytes, name: str = "part") -> None:
        with (self._place / name).open("r+b") as file:
            file.seek(offset)
            file.write(data)


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    """A disk of 4 MiB as `disk`, and its second half as `part`."""
    path = tmp_path / "disk.raw"
    RawFile.create(path, _SIZE).close()
    with closing(Disk.open(path, "raw")) as disk:
        files = {"disk": Counting(disk), "part": Counting(disk, _SIZE // 2, _SIZE // 2)}
        with mounted(files, writes=disk.writes) as (place, folder):
            yield Shown(disk, place, folder, files)


def test_a_second_tool_is_answered_from_what_the_first_has_read(shown: Shown) -> None:
    first = shown.read()
    asked = shown.files["part"].bytes_read
    assert (shown.read(), shown.files["part"].bytes_read) == (first, asked)


def test_what_a_tool_has_written_the_next_one_reads_without_asking(shown: Shown) -> None:
    shown.read()
    asked = shown.files["part"].bytes_read
    shown.write(70_000, b"written by a tool")
    assert shown.read()[70_000:70_017] == b"written by a tool"
    assert shown.files["part"].bytes_read == asked
    assert shown.disk.read(_SIZE // 2 + 70_000, 17) == b"written by a tool"


def test_what_was_written_to_the_disk_itself_the_next_tool_sees(shown: Shown) -> None:
    shown.read()
    shown.disk.write(_SIZE // 2 + 4096, b"written beside it")
    assert shown.read()[4096:4113] == b"written beside it"


@pytest.mark.parametrize(
    "writer, reader, offset", [("part", "disk", _SIZE // 2), ("disk", "part", 0)]
)
def test_what_was_written_through_one_file_is_seen_in_another_that_has_the_same_bytes(
    shown: Shown, writer: str, reader: str, offset: int
) -> None:
    shown.read(reader)
    shown.write(_SIZE // 2 - offset, b"through the other", writer)
    assert shown.read(reader)[offset : offset + 17] == b"through the other"


def test_a_write_that_was_told_of_costs_no_more_than_its_own_pages(shown: Shown) -> None:
    shown.read()
    asked = shown.files["part"].bytes_read
    shown.disk.write(_SIZE // 2 + 5000, b"told of")
    shown.folder.changed("part", 5000, 7)
    assert shown.read()[5000:5007] == b"told of"
    assert 0 < shown.files["part"].bytes_read - asked <= MiB // 2


def test_a_write_can_be_told_of_before_anybody_has_looked(shown: Shown) -> None:
    shown.disk.write(_SIZE // 2, b"first")
    shown.folder.changed("part", 0, 5)
    assert shown.read()[:5] == b"first"


def test_another_image_in_place_of_the_first_is_seen(shown: Shown, tmp_path: Path) -> None:
    shown.read()
    with closing(RawFile.create(tmp_path / "other.raw", _SIZE)) as other:
        other.write(_SIZE // 2, b"the other image")
        shown.disk.activate(other)
        assert shown.read()[:15] == b"the other image"
