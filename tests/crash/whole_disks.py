"""Disks of a few mebibytes for whole commands, and what foreign tools say of them afterwards."""

from __future__ import annotations

import subprocess
from pathlib import Path

from growdisk.units import MiB

SIZE, NEW = 16 * MiB, "32M"
_UUID = "5e1f0c1d-0000-4000-8000-00000000a001"
_TABLE = "label: dos\nlabel-id: 0x5ca1ab1e\n2048,20480,83\n"


def make_disk(path: Path, *, filesystem: bool = True) -> Path:
    """A partition of 10 MiB at 1 MiB, with an ext4 file system or with nothing."""
    raw = path.with_name(f"{path.name}.making")
    with raw.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run(["sfdisk", "-q", raw], input=_TABLE, text=True, check=True)
    if filesystem:
        subprocess.run(
            ["mkfs.ext4", "-q", "-F", "-U", _UUID, "-O", "^has_journal", "-E", f"offset={MiB}", raw,
             "10M"],
            check=True,
        )  # fmt: skip
    kind = format_of(path)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", kind, raw, path], check=True)
    raw.unlink()
    return path


def format_of(image: Path) -> str:
    return "raw" if image.suffix == ".raw" else "qcow2"


def assert_same(image: Path, other: Path) -> None:
    """The same disk, and the image is sound and has no snapshot."""
    assert_same_disk(image, other)
    assert_sound(image)


def assert_same_disk(image: Path, other: Path) -> None:
    """The same guest-visible bytes, and as many of them."""
    kinds = ["-f", format_of(image), "-F", format_of(other)]
    compared = subprocess.run(
        ["qemu-img", "compare", *kinds, image, other], capture_output=True, text=True
    )
    assert compared.returncode == 0, f"{image}, {other}: {compared.stdout}"
    assert virtual_size(image) == virtual_size(other)


def assert_sound(image: Path) -> None:
    if format_of(image) == "qcow2":
        check = subprocess.run(["qemu-img", "check", image], capture_output=True, text=True)
        assert check.returncode == 0, check.stdout
        if _header_field(image, 60, 4):  # its number of snapshots
            listed = subprocess.run(["qemu-img", "snapshot", "-l", image], capture_output=True)
            assert b"growdisk" not in listed.stdout


def assert_file_system(image: Path) -> None:
    """As e2fsck sees it."""
    raw = image.with_name(f"{image.name}.judged")
    subprocess.run(
        ["qemu-img", "convert", "-f", format_of(image), "-O", "raw", image, raw], check=True
    )
    subprocess.run(["e2fsck", "-fn", f"{raw}?offset={MiB}"], check=True, capture_output=True)
    raw.unlink()


def virtual_size(image: Path) -> int:
    return image.stat().st_size if format_of(image) == "raw" else _header_field(image, 24, 8)


def _header_field(image: Path, place: int, length: int) -> int:
    """Read here, by QEMU's docs/interop/qcow2.txt: a process for each would take longer."""
    with image.open("rb") as file:
        header = file.read(72)
    assert header[:4] == b"QFI\xfb", image
    return int.from_bytes(header[place : place + length])
