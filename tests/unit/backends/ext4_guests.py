"""Guests as files on an ext4, and initrds as a kernel unpacks them, made by foreign tools.

The tools are mke2fs, cpio and the packers.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.units import MiB

UUID = "9d1f0a7b-3c52-4e86-b7aa-15d0c3f2e481"
SWAP = RemovedPartition(number=4, uuid=UUID, label="spare", partuuid="7f00aa11-04")
RESUME = {
    "conf/conf.d/resume": f"RESUME=UUID={UUID}\n",
    "scripts/functions": "",
    "init": "#!/bin/sh\n",
}
PACKERS = {
    "gzip": "gzip -9",
    "zstd": "zstd -q -19",
    "xz": "xz --check=crc32",
    "lz4": "lz4 -l -q",
    "plain": "cat",
}


def packed(folder: Path, files: dict[str, str], packer: str = "gzip") -> bytes:
    """As the kernel unpacks it, made by cpio and the packer."""
    place = folder / "packing"
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content)
    command = f"find . -type f | sort | cpio --quiet -o -H newc | {PACKERS[packer]}"
    made = subprocess.run(
        ["sh", "-c", command], cwd=place, stdout=subprocess.PIPE, check=True
    ).stdout
    subprocess.run(["rm", "-r", place], check=True)
    return made


def guest_on_ext4(
    folder: Path, files: dict[str, bytes | str], links: dict[str, str] | None = None
) -> Path:
    """Without a table."""
    root, image = folder / "root", folder / "guest.raw"
    shared: dict[str, bytes | str] = {"/etc/fstab": "LABEL=r / ext4 defaults 0 1\n", "/usr/x": ""}
    for path, content in (shared | files).items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
    for path, target in (links or {}).items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(target)
    with image.open("wb") as file:
        file.truncate(16 * MiB)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", root, image], check=True)
    return image
