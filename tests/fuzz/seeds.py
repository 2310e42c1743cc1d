"""Small, sound images of every kind, made by QEMU's own tools: what the mutants are made from.

Each stands for one set of structures in the file. They are kept small (a few hundred KiB at most),
so that thousands of mutants can be written and read in a minute.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.oracle.encrypted import KEY, their_luks
from tests.oracle.qemu import qemu_img

_SECRET = ("--object", "secret,id=key,file=key")
_DATA = ("write -P 1 0 24k", "write -P 2 100k 9k", "write -z 40k 16k")


@dataclass(frozen=True)
class Seed:
    """`image`: the bytes of NAME.qcow2; `beside`: other files that lie in its directory."""

    name: str
    image: bytes
    beside: dict[str, bytes]
    key: bytes | None = None


@dataclass(frozen=True)
class Recipe:
    """`actions` are qemu-io's commands; `snapshot ` and `bitmap ` begin qemu-img's."""

    options: str
    actions: tuple[str, ...]
    size: str = "256k"
    backed: bool = False
    encrypted: bool = False


RECIPES = {
    "plain": Recipe(
        "cluster_size=4k",
        (*_DATA, "write -c -P 3 64k 12k", "snapshot one", "write -P 4 4k 8k", "snapshot two"),
    ),
    "version-2": Recipe("compat=0.10,cluster_size=512",
        ("write -P 1 0 20k", "snapshot one", "write -P 2 9k 9k")),
    "overlay": Recipe("cluster_size=4k", (*_DATA, "snapshot one"), backed=True),
    "zstd": Recipe("cluster_size=16k,compression_type=zstd",
        ("write -c -P 3 0 64k", "write -P 1 80k 16k")),
    "subclusters": Recipe("cluster_size=16k,extended_l2=on",
        (*_DATA, "write -c -P 3 64k 16k", "snapshot one")),
    "narrow": Recipe("cluster_size=512,refcount_bits=1", ("write -P 1 0 9k",), size="64k"),
    "wide": Recipe("cluster_size=512,refcount_bits=64", ("write -P 1 0 20k", "snapshot one"),
        size="64k"),
    "bitmaps": Recipe("cluster_size=4k", ("bitmap first", *_DATA, "bitmap second")),
    "data-file": Recipe("cluster_size=4k,data_file=data.raw", _DATA),
    "raw-data-file": Recipe("cluster_size=4k,data_file=data.raw,data_file_raw=on", _DATA),
    "lazy": Recipe("cluster_size=64k,lazy_refcounts=on", _DATA),
    "luks": Recipe("cluster_size=4k", ("write -P 1 0 24k", "snapshot one"), encrypted=True),
    "luks-data-file": Recipe("cluster_size=4k,data_file=data.raw", _DATA[:2], encrypted=True),
    "legacy-aes": Recipe("cluster_size=4k,encrypt.format=aes", ("write -P 1 0 24k",),
        encrypted=True),
}  # fmt: skip


def make_seed(name: str, directory: Path) -> Seed:
    """Make one of RECIPES in an empty directory."""
    recipe, path = RECIPES[name], directory / f"{name}.qcow2"
    (directory / "key").write_bytes(KEY)
    words = ["-b", "base.raw", "-F", "raw"] if recipe.backed else []
    if recipe.backed:
        (directory / "base.raw").write_bytes(bytes(range(256)) * 600)
    options = recipe.options
    if recipe.encrypted and "encrypt.format" not in options:
        their_luks(path, recipe.size, options)
    else:
        if recipe.encrypted:
            options += ",encrypt.key-secret=key"
            words = [*_SECRET, *words]
        qemu_img(
            "create", "-q", "-f", "qcow2", *words, "-o", options, path.name, recipe.size,
            directory=directory,
        )  # fmt: skip
    for action in recipe.actions:
        _do(path, action, encrypted=recipe.encrypted)
    (directory / "key").unlink()
    beside = {other.name: other.read_bytes() for other in directory.iterdir() if other != path}
    return Seed(name, path.read_bytes(), beside, KEY if recipe.encrypted else None)


def _do(path: Path, action: str, *, encrypted: bool) -> None:
    what, _, name = action.partition(" ")
    image = ["--image-opts", f"driver=qcow2,file.filename={path.name},encrypt.key-secret=key"]
    place = [*_SECRET, *image] if encrypted else [path.name]
    if what == "snapshot":
        qemu_img("snapshot", "-c", name, *place, directory=path.parent)
    elif what == "bitmap":
        qemu_img("bitmap", "--add", "-g", "64k", path.name, name, directory=path.parent)
    else:
        words = ["qemu-io", *([] if encrypted else ["-f", "qcow2"]), "-c", action, *place]
        # a data file is looked for there
        subprocess.run(words, check=True, capture_output=True, cwd=path.parent)
