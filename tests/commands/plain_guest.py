"""A root with a guest's files and swap after it, grown by the command line in a second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from growdisk.units import ByteRange, MiB
from tests.guests.tools import place_content, run

ROOT, SWAP = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-aaaaaaaaaaaa"
ROOT_PLACE, SWAP_PLACE = ByteRange(MiB, 25 * MiB), ByteRange(25 * MiB, 37 * MiB)
ROOT_LINE, SWAP_LINE = f"UUID={ROOT} / ext4 defaults 0 1\n", f"UUID={SWAP} none swap sw 0 0\n"
FSTAB = ROOT_LINE + SWAP_LINE


def make(
    folder: Path,
    files: Mapping[str, str | bytes],
    *,
    swap_options: tuple[str, ...] = (),
    root_options: tuple[str, ...] = (),
) -> Path:
    """GPT: 1 ext4 with `files`, 2 swap."""
    image, tree = folder / "disk.raw", folder / "tree"
    table = "label: gpt\n1: start=2048, size=24M, type=linux\n2: start=51200, size=12M, type=swap\n"
    for path, content in ({"/etc/fstab": FSTAB, "/usr/bin/true": ""} | dict(files)).items():
        place = tree / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
    for path, size in ((image, 38 * MiB), (folder / "swap", 12 * MiB)):
        with path.open("wb") as file:
            file.truncate(size)
    run("sfdisk", "-q", "--no-reread", image, stdin=table)
    run(
        "mke2fs", "-q", "-F", "-t", "ext4", "-U", ROOT, "-d", tree, *root_options,
        "-E", f"offset={ROOT_PLACE.start}", image, f"{ROOT_PLACE.length >> 10}k",
    )  # fmt: skip
    run("mkswap", "-q", "-U", SWAP, *swap_options, folder / "swap")
    place_content(folder / "swap", image, SWAP_PLACE.start)
    return image


def file_in(image: Path, path: str) -> str:
    return run("debugfs", "-R", f"cat {path}", f"{image}?offset={ROOT_PLACE.start}")
