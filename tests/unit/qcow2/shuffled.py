"""An image whose clusters lie in an order that nothing can guess."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

MASK = 0x00FFFFFFFFFFFE00
Change = Callable[[list[int]], None]


def shuffled(path: Path, change: Change, *, snapshot: bool = False) -> None:
    """16 MiB in clusters of 4 KiB, all mapped, in random order; then `change` on all entries."""
    subprocess.run(
        [
            "qemu-img", "create", "-q", "-f", "qcow2",
            "-o", "preallocation=metadata,cluster_size=4k", path, "16M",
        ],
        check=True,
    )  # fmt: skip
    if snapshot:
        subprocess.run(["qemu-img", "snapshot", "-c", "s", path], check=True)
    with path.open("r+b") as file:
        l1_size, l1_offset = struct.unpack_from(">IQ", file.read(48), 36)
        file.seek(l1_offset)
        tables = [entry & MASK for entry in struct.unpack(f">{l1_size}Q", file.read(8 * l1_size))]
        entries: list[int] = []
        for offset in tables:
            file.seek(offset)
            entries += struct.unpack(">512Q", file.read(4096))
        random.Random(2).shuffle(entries)
        change(entries)
        for index, offset in enumerate(tables):
            file.seek(offset)
            file.write(struct.pack(">512Q", *entries[512 * index : 512 * (index + 1)]))
