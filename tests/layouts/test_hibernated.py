"""A guest that sleeps is left alone, wherever its memory lies; the same guest awake is planned."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from growdisk.units import ByteRange, MiB
from tests.guests.layered import layered_guests
from tests.guests.swap import make_swap
from tests.guests.tools import run
from tests.layouts.refusing import assert_refused, disk
from tests.unit.cli.command import in_process

_SWAP_SIZE, _UUID = MiB, "5e1f0c1d-0000-4000-8000-00000000a005"
_TABLE = "label: gpt\nstart=2048,size=65536\nstart=67584,size=800000\n"
_SYSTEM, _BOTH = 800000 * 512, 460 * MiB


def swap_file(*, asleep: bool) -> bytes:
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(_SWAP_SIZE)
        make_swap(Path(file.name), ByteRange(0, _SWAP_SIZE), uuid=_UUID, hibernated=asleep)
        return Path(file.name).read_bytes()


def tree(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in {
        "etc/fstab": b"/dev/sda2 / auto defaults 0 1\n",
        "usr/bin/sh": b"",
        **files,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def filled(kind: str, path: Path, files: Mapping[str, bytes], size: int = _SYSTEM) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    source = tree(path.with_suffix(".tree"), files)
    match kind:
        case "ext4":
            run("mke2fs", "-q", "-F", "-t", "ext4", "-d", source, path)
        case "btrfs":
            run("mkfs.btrfs", "-q", "--rootdir", source, path)
        case "xfs":
            run("mkfs.xfs", "-q", "-p", _prototype(source), path)
    return path


def _prototype(folder: Path) -> Path:
    """A prototype for mkfs.xfs -p: `d` directory, `-` file with its source, `$` ends one."""

    def lines(here: Path) -> Iterator[str]:
        for each in sorted(here.iterdir()):
            if each.is_dir():
                yield f"{each.name} d--755 0 0"
                yield from lines(each)
            else:
                yield f"{each.name} ---644 0 0 {each}"
        yield "$"

    prototype = folder.with_suffix(".prototype")
    prototype.write_text("\n".join(["/", "0 0", "d--755 0 0", *lines(folder), ""]))
    return prototype


NAMED = {
    "usual place, named nowhere": ("swap.img", {}),
    "fstab": (
        "data/deep/hib",
        {"etc/fstab": b"/dev/sda2 / auto x 0 1\n/data/deep/hib none swap sw 0 0\n"},
    ),
    "fstab, with a blank": (
        "my swap",
        {"etc/fstab": b"/dev/sda2 / auto x 0 1\n/my\\040swap none swap sw 0 0\n"},
    ),
    "a unit of systemd": (
        "srv/hib",
        {"etc/systemd/system/srv-hib.swap": b"[Swap]\nWhat=/srv/hib\n"},
    ),
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [*(("ext4", name) for name in NAMED), ("xfs", "fstab"), ("btrfs", "a unit of systemd")],
)
def test_a_guest_that_sleeps_in_a_swap_file_is_refused(
    tmp_path: Path, kind: str, name: str
) -> None:
    place, files = NAMED[name]
    for asleep in (True, False):
        system = filled(kind, tmp_path / f"{asleep}", {**files, place: swap_file(asleep=asleep)})
        image = disk(tmp_path / "disk.raw", _TABLE, _BOTH, s67584=system)
        if asleep:
            assert f"/{place}" in assert_refused(
                image, "+100M", naming="its memory lies in the swap file"
            )
        else:
            assert in_process("plan", image, "+100M").code == 0


def test_a_swap_file_in_another_file_system_that_the_guest_mounts_is_seen(tmp_path: Path) -> None:
    fstab = b"/dev/sda2 / auto x 0 1\nLABEL=inner /swap ext4 x 0 0\n/swap/hib none swap sw 0 0\n"
    inner = filled("ext4", tmp_path / "inner", {"hib": swap_file(asleep=True)}, 65536 * 512)
    run("e2label", inner, "inner")
    system = filled("ext4", tmp_path / "system", {"etc/fstab": fstab, "swap/under": b""})
    image = disk(tmp_path / "disk.raw", _TABLE, _BOTH, s2048=inner, s67584=system)
    assert_refused(image, "+100M", naming="the swap file /swap/hib")


def test_a_guest_that_sleeps_in_a_logical_volume_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    run("cp", "--sparse=always", "--no-preserve=mode", layered_guests() / "lvm.raw", image)
    home = image.read_bytes().index(b"XFSB", 33 * MiB)
    make_swap(image, ByteRange(home, home + 64 * MiB), uuid=_UUID, hibernated=True)
    assert_refused(image, "+100M", naming="the swap space of guest-vg/home")


def test_nothing_of_a_disk_on_which_windows_sleeps_is_changed(tmp_path: Path) -> None:
    """Also where its own volume would stay as it is: it remembers the table."""
    windows = tmp_path / "windows"
    with windows.open("wb") as file:
        file.truncate(65536 * 512)
    run("mkntfs", "-F", "-q", "-f", windows)
    system = filled("ext4", tmp_path / "system", {})
    image = disk(tmp_path / "disk.raw", _TABLE, _BOTH, s2048=windows, s67584=system)
    assert in_process("plan", image, "+100M").code == 0
    sleeping = tmp_path / "hiberfil.sys"
    sleeping.write_bytes(b"HIBR" + bytes(8188))
    run("ntfscp", "-f", windows, sleeping, "hiberfil.sys")
    image = disk(tmp_path / "disk.raw", _TABLE, _BOTH, s2048=windows, s67584=system)
    assert_refused(image, "+100M", naming="Windows is hibernated in sda1")
