"""The images of the engine's table, by qemu-img; the shuffled one by exchanging entries."""

from __future__ import annotations

import random
import struct
import subprocess
from array import array
from pathlib import Path

MiB, GiB = 1 << 20, 1 << 30
_OFFSET = 0x00FFFFFFFFFFFE00
_SOURCES = ("/usr/lib/x86_64-linux-gnu", "/usr/bin", "/usr/lib/python3", "/usr/share")


def contiguous(path: Path, size: str = "1T") -> None:
    """Every cluster mapped, one behind the other."""
    _create(path, size, "preallocation=metadata")


def shuffled(path: Path, size: str = "16G") -> None:
    """Every cluster mapped, in an order that nothing can guess."""
    _create(path, size, "preallocation=metadata")
    with path.open("r+b") as file:
        l1_size, l1_offset = struct.unpack_from(">IQ", file.read(48), 36)
        file.seek(l1_offset)
        tables = [
            entry & _OFFSET for entry in struct.unpack(f">{l1_size}Q", file.read(8 * l1_size))
        ]
        entries = array("Q")
        for offset in tables:
            file.seek(offset)
            entries.frombytes(file.read(1 << 16))
        random.Random(1).shuffle(entries)
        for index, offset in enumerate(tables):
            file.seek(offset)
            file.write(entries[8192 * index : 8192 * (index + 1)].tobytes())


def nearly_empty(path: Path) -> None:
    """10 GiB, of which 96 MiB have been written."""
    _create(path, "10G", "cluster_size=64k")
    subprocess.run(
        ["qemu-io", "-c", "write -P 5 0 96M", path], check=True, stdout=subprocess.DEVNULL
    )


def filled(path: Path, size: int = 512 * MiB) -> None:
    """Make a raw disk of this machine's files, one after the other: bytes as guests have them."""
    with path.open("wb") as file:
        for name in sorted(
            name for folder in _SOURCES for name in Path(folder).rglob("*") if name.is_file()
        ):
            if name.is_symlink():
                continue
            file.write(name.read_bytes())
            file.seek(-file.tell() % 4096, 1)
            if file.tell() > size:
                break
        file.truncate(size)


def files(folder: Path, size: int) -> None:
    """Make a folder with about `size` bytes of this machine's files of all kinds, renamed."""
    folder.mkdir()
    found = sorted(path for place in _SOURCES for path in Path(place).rglob("*") if path.is_file())
    chosen = [path for path in found if not path.is_symlink()]
    random.Random(1).shuffle(chosen)
    for number, path in enumerate(chosen):
        size -= path.stat().st_size
        if size < 0:
            break
        (folder / f"{number:06}").write_bytes(path.read_bytes())


def _create(path: Path, size: str, options: str) -> None:
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, size], check=True
    )
