"""Names in a FAT, read by us and by mtools."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.filesystems.fat_tree import FatTree
from growdisk.units import MiB
from tests.guests.tools import run

_NAMES = ("a name of more than one piece.conf", "loader.conf", "SHORT.TXT", "größer.efi")
_VOLUME_LABEL = 0x08


@pytest.fixture
def image(tmp_path: Path) -> Path:
    image = tmp_path / "fat.raw"
    with image.open("wb") as file:
        file.truncate(8 * MiB)
    run("mkfs.vfat", image)
    for name in _NAMES:
        (tmp_path / name).write_text(name)
        run("mcopy", "-i", image, tmp_path / name, "::/")
    return image


def test_long_names_are_read(image: Path) -> None:
    assert _names(image) == {name: name for name in _NAMES}


def test_pieces_of_a_name_whose_file_is_gone_name_no_other_file(image: Path) -> None:
    # What a program that knows only short names does: it removes one, and makes another there.
    entry = _entry(image, b"ANAMEO~1CON")
    _write(image, entry, b"OTHER   TXT")
    found = _names(image)
    assert found["OTHER.TXT"] == _NAMES[0]
    assert _NAMES[0] not in found
    assert "OTHER.TXT" in run("mdir", "-b", "-i", image, "::/")


def test_a_label_ends_what_a_long_name_began(image: Path) -> None:
    _write(image, _entry(image, b"LOADER~1CON") + 11, bytes([_VOLUME_LABEL]))
    assert _names(image) == {name: name for name in _NAMES if name != "loader.conf"}


@pytest.mark.parametrize("piece", [1, 2])
def test_a_name_without_one_of_its_pieces_is_the_short_one(image: Path, piece: int) -> None:
    _write(image, _entry(image, b"ANAMEO~1CON") - 32 * piece, b"\x07")
    assert _names(image)["ANAMEO~1.CON"] == _NAMES[0]


def _names(image: Path) -> dict[str, str]:
    """Each name with the content of its file."""
    with closing(RawFile.open(image)) as device:
        tree = FatTree(device)
        entries = tree.entries(tree.inode(tree.root))
        return {name: tree.read(tree.inode(number)).decode() for name, number in entries.items()}


def _entry(image: Path, short: bytes) -> int:
    return image.read_bytes().index(short)


def _write(image: Path, at: int, content: bytes) -> None:
    with image.open("r+b") as file:
        file.seek(at)
        file.write(content)
