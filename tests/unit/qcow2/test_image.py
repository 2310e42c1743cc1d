"""An image as a whole, by its own bytes: refusals, chains, failing disks, order of writes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from growdisk.block.device import ExtentKind
from growdisk.errors import ImageDamaged, ImageNotReadable, ImageUnsupported, KeyNeeded
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.probe import probe_format
from tests.refusals import raises
from tests.unit.qcow2.full_disk import FullDisk

MIB = 1 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.qcow2"
    create(path, 64 * MIB)
    return path


def test_a_full_disk_fails_a_write_and_leaves_the_old_content(image: Path) -> None:
    with Qcow2Image.open(image, writable=True) as opened:
        opened.write(0, b"\1" * MIB)
        opened.create_snapshot("one")
    file = FullDisk(image, room=200_000)
    opened = Qcow2Image.over(file, image, writable=True)
    with pytest.raises(OSError, match="No space left"):
        opened.write(0, b"\2" * MIB)
    assert opened.read(0, MIB) == b"\1" * MIB
    opened.close()
    with Qcow2Image.open(image, writable=True) as opened:
        assert opened.read(0, MIB) == b"\1" * MIB
        opened.write(0, b"\3" * MIB)
        opened.apply_snapshot("one")
        assert opened.read(0, MIB) == b"\1" * MIB


def test_a_full_disk_fails_a_snapshot_and_leaves_no_trace_of_it(image: Path) -> None:
    with Qcow2Image.open(image, writable=True) as opened:
        opened.write(0, b"\1" * MIB)
    file = FullDisk(image, room=65536)
    opened = Qcow2Image.over(file, image, writable=True)
    with pytest.raises(OSError, match="No space left"):
        opened.create_snapshot("one")
    assert opened.snapshots() == ()
    opened.write(0, b"\2" * MIB)  # in place: COPIED is set again
    opened.close()
    with Qcow2Image.open(image, writable=True) as opened:
        assert opened.header.incompatible == 0
        assert opened.snapshots() == ()
        opened.create_snapshot("one")


def test_entries_that_leave_the_file_are_refused_before_anything_is_written(image: Path) -> None:
    with Qcow2Image.open(image, writable=True) as opened:
        opened.write(0, b"\1" * MIB)
        l1_offset = opened.header.l1_offset
    raw = bytearray(image.read_bytes())
    l2_offset = int.from_bytes(raw[l1_offset : l1_offset + 8], "big") & 0x00FFFFFFFFFFFE00
    for position, value in (
        (l1_offset, 1 << 50),
        (l1_offset, 0x10),
        (l1_offset, l2_offset | 0x1FF),
        (l2_offset, 1 << 50),
        (l2_offset, 0x50002),
        (l2_offset, 0x50200),
    ):
        bad = raw.copy()
        bad[position : position + 8] = value.to_bytes(8, "big")
        image.write_bytes(bad)
        for operation in (
            lambda opened: opened.read(0, 512),
            lambda opened: opened.write(0, b"x"),
            lambda opened: opened.create_snapshot("one"),
        ):
            with pytest.raises(ImageDamaged), Qcow2Image.open(image, writable=True) as opened:
                operation(opened)
        assert image.read_bytes() == bad


@pytest.mark.parametrize("value", [(1 << 64) - 1, 1 << 50, 0x50200])
@pytest.mark.parametrize("index", [5, 8191])
def test_a_snapshot_stays_if_a_table_of_the_disk_that_it_does_not_share_is_damaged(
    image: Path, index: int, value: int
) -> None:
    """Its COPIED flags are set again last; the snapshot was gone by then, and the image dirty."""
    with Qcow2Image.open(image, writable=True) as opened:
        opened.write(0, b"\1" * MIB)
        opened.create_snapshot("one")
        opened.write(0, b"\2" * MIB)
        l1_offset = opened.header.l1_offset
    raw = bytearray(image.read_bytes())
    l2_offset = int.from_bytes(raw[l1_offset : l1_offset + 8], "big") & 0x00FFFFFFFFFFFE00
    raw[l2_offset + 8 * index : l2_offset + 8 * index + 8] = value.to_bytes(8, "big")
    image.write_bytes(raw)
    for operation in (
        lambda opened: opened.delete_snapshot("one"),
        lambda opened: opened.forget_newest_snapshots(("one",)),
        lambda opened: opened.revert_to("one", ()),
        lambda opened: opened.make_empty(),
    ):
        with pytest.raises(ImageDamaged), Qcow2Image.open(image, writable=True) as opened:
            operation(opened)
        assert image.read_bytes() == raw


def test_tables_that_are_counted_as_free_are_never_handed_out(image: Path) -> None:
    with Qcow2Image.open(image, writable=True) as opened:
        opened.write(0, b"\1" * MIB)
    raw = bytearray(image.read_bytes())
    raw[0x20006:0x20008] = bytes(2)  # the count of the L1 table, in the only refcount block
    image.write_bytes(raw)
    with (
        pytest.raises(ImageDamaged, match="counted as free"),
        Qcow2Image.open(image, writable=True) as opened,
    ):
        opened.write(8 * MIB, b"x")
    assert image.read_bytes() == raw


@pytest.mark.parametrize(
    "name", ["json:{}", "nbd://localhost/disk", "http://example.org/disk.qcow2"]
)
def test_a_backing_file_that_is_not_a_local_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "top.qcow2"
    create(path, MIB, backing=Path("b" * len(name)), backing_format="raw")
    path.write_bytes(path.read_bytes().replace(b"b" * len(name), name.encode()))
    with pytest.raises(ImageUnsupported, match="not a local file"):
        Qcow2Image.open(path)
    with Qcow2Image.open(path, writable=True, with_backing=False) as opened:
        opened.create_snapshot("metadata need no backing file")


def test_a_chain_that_bites_its_own_tail_is_refused(tmp_path: Path) -> None:
    for name, below in (("a", "b"), ("b", "a"), ("self", "self")):
        create(tmp_path / name, MIB, backing=Path(below), backing_format="qcow2")
    for name in ("a", "self"):
        with pytest.raises(ImageUnsupported, match="own chain"):
            Qcow2Image.open(tmp_path / name)


def test_a_missing_backing_file_is_named(tmp_path: Path) -> None:
    create(tmp_path / "top", MIB, backing=Path("gone.raw"), backing_format="raw")
    with pytest.raises(ImageNotReadable, match=r"gone\.raw"):
        Qcow2Image.open(tmp_path / "top")


def test_a_raw_backing_file_with_a_qcow2_magic_stays_raw(tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(b"QFI\xfb".ljust(MIB, b"\7"))
    create(tmp_path / "top", MIB, backing=Path("base"), backing_format="raw")
    with Qcow2Image.open(tmp_path / "top") as opened:
        assert opened.read(0, 6) == b"QFI\xfb\7\7"


def test_encrypted_guest_data_are_refused_and_metadata_operations_work(image: Path) -> None:
    with image.open("r+b") as file:
        file.seek(32)
        file.write((1).to_bytes(4, "big"))
    with Qcow2Image.open(image, writable=True) as opened:
        for operation in (
            lambda: opened.read(0, 1),
            lambda: opened.write(0, b"x"),
            lambda: opened.write_zeros(0, 9),
        ):
            with pytest.raises(KeyNeeded, match="encrypted"):
                operation()
        opened.create_snapshot("one")
        opened.resize(128 * MIB)


def test_snapshot_names_must_be_new_known_and_unique(image: Path) -> None:
    with Qcow2Image.open(image, writable=True) as opened:
        opened.create_snapshot("one")
        with raises("snapshot-exists"):
            opened.create_snapshot("one")
        with raises("snapshot-not-found"):
            opened.apply_snapshot("two")
        with pytest.raises(ImageUnsupported):
            opened.create_snapshot("x" * 256)
        opened.create_snapshot("own")
        table = opened.header.snapshots_offset
    raw = bytearray(image.read_bytes())
    where = raw.index(b"own", table)
    raw[where : where + 3] = b"one"
    image.write_bytes(raw)
    with Qcow2Image.open(image, writable=True) as opened, raises("snapshot-ambiguous"):
        opened.delete_snapshot("one")


@pytest.mark.parametrize("size", [64 * MIB + 1, 1 << 62, (1 << 63) - 512])
def test_impossible_sizes_are_refused_and_change_nothing(image: Path, size: int) -> None:
    before = image.read_bytes()
    with Qcow2Image.open(image, writable=True) as opened, pytest.raises(ImageUnsupported):
        opened.resize(size)
    assert image.read_bytes() == before


def test_a_version_2_image_with_snapshots_keeps_its_size(tmp_path: Path) -> None:
    create(tmp_path / "v2", MIB, CreateOptions(compat="0.10"))
    with Qcow2Image.open(tmp_path / "v2", writable=True) as opened:
        opened.create_snapshot("one")
        with pytest.raises(ImageUnsupported, match="version 2"):
            opened.resize(2 * MIB)


def test_ranges_outside_the_disk_are_the_callers_mistake(image: Path) -> None:
    with Qcow2Image.open(image, writable=True) as opened:
        for operation in (
            lambda: opened.read(64 * MIB - 1, 2),
            lambda: opened.write(64 * MIB, b"x"),
            lambda: opened.discard(-1, 1),
            lambda: opened.extents(0, 65 * MIB),
        ):
            with pytest.raises(ValueError, match="range"):
                operation()
        assert opened.read(64 * MIB, 0) == b""


def test_reading_only_never_writes(image: Path) -> None:
    with Qcow2Image.open(image) as opened:
        assert not opened.writable
        with pytest.raises(ValueError, match="reading only"):
            opened.write(0, b"x")


def test_zeros_and_discards_free_what_they_cover_for_the_next_write(image: Path) -> None:
    with Qcow2Image.open(image, writable=True) as opened:
        opened.write(0, b"\1" * (8 * MIB))
        opened.flush()
        size = image.stat().st_size
        for _ in range(10):
            opened.discard(0, 4 * MIB)
            opened.write_zeros(4 * MIB, 4 * MIB)
            opened.flush()
            opened.write(0, b"\2" * (8 * MIB))
            opened.flush()
        assert image.stat().st_size <= size + 8 * MIB
        assert [extent.kind for extent in opened.extents(0, 64 * MIB)] == [
            ExtentKind.DATA,
            ExtentKind.ZERO,
        ]


def test_snapshots_taken_and_deleted_over_and_over_do_not_make_the_file_longer(image: Path) -> None:
    sizes = []
    for _ in range(6):
        with Qcow2Image.open(image, writable=True) as opened:
            opened.create_snapshot("run")
            opened.write(0, b"x")
            opened.apply_snapshot("run")
            opened.delete_snapshot("run")
        sizes.append(image.stat().st_size)
    assert sizes[1] == sizes[-1]


@pytest.mark.parametrize("magic", [b"KDMV", b"vhdxfile", b"conectix", b"QED\0", b"LUKS\xba\xbe"])
def test_other_formats_are_named_and_refused(tmp_path: Path, magic: bytes) -> None:
    path = tmp_path / "disk"
    path.write_bytes(magic.ljust(4096, b"\0"))
    with pytest.raises(ImageUnsupported):
        probe_format(path)


def test_a_damaged_qcow2_header_is_never_taken_for_raw(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"QFI\xfb" + b"\xff" * 4092)
    assert probe_format(path) == "qcow2"
    path.write_bytes(bytes(4096))
    assert probe_format(path) == "raw"
    for content in (b"", b"QF", bytes(511)):
        path.write_bytes(content)
        with pytest.raises(ImageUnsupported):
            probe_format(path)


def test_create_never_replaces_a_file(image: Path) -> None:
    before = image.read_bytes()
    with pytest.raises(FileExistsError):
        create(image, MIB)
    assert image.read_bytes() == before


def test_opening_twice_for_reading_is_allowed(image: Path) -> None:
    with closing(Qcow2Image.open(image)) as one, closing(Qcow2Image.open(image)) as two:
        assert one.size == two.size
