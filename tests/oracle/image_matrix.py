"""Images of every kind, made by QEMU: functions that build one in a folder.

Each returns its path.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.oracle.encrypted import their_luks
from tests.oracle.qemu import qemu_img, qemu_io

_GEOMETRIES = (
    "compat=0.10", "compat=0.10,cluster_size=4k", "compat=1.1", "cluster_size=1k,refcount_bits=64",
    "cluster_size=4k,refcount_bits=1", "cluster_size=2M,refcount_bits=8",
    "lazy_refcounts=on,refcount_bits=32", "compression_type=zstd,cluster_size=128k",
    "preallocation=metadata", "preallocation=metadata,cluster_size=4k", "preallocation=falloc",
)  # fmt: skip


def _written(options: str) -> Callable[[Path], Path]:
    """Data in pieces, zeros, compressed clusters, discarded ones."""

    def make(folder: Path) -> Path:
        path = folder / "image.qcow2"
        qemu_img("create", "-q", "-f", "qcow2", "-o", options, path, "16M")
        zero = "write -z" if "0.10" not in options else "write -P 0"
        actions = [
            "write -P 1 0 3M",
            f"{zero} 1M 1M",
            "write -P 4 1500k 1k",
            f"{zero} 9M 100k",
            "write -P 5 15M 500k",
        ]
        if "preallocation" not in options:
            actions += ["write -c -P 2 4M 2M", "write -c -P 3 6M 2M", "discard 2M 512k"]
        qemu_io(path, *actions)
        return path

    return make


def _chain(folder: Path) -> Path:
    """raw (3 MiB) below qcow2 (2 MiB) below qcow2 (4 MiB), in two folders."""
    (folder / "sub").mkdir()
    base, middle, top = folder / "base.raw", folder / "sub" / "middle.qcow2", folder / "top.qcow2"
    base.write_bytes(b"\x11" * (1 << 20) + bytes(1 << 20) + b"\x12" * (1 << 20))
    qemu_img("create", "-q", "-f", "qcow2", "-b", "../base.raw", "-F", "raw", middle, "2M")
    qemu_io(middle, "write -P 2 1M 100k")
    qemu_img("create", "-q", "-f", "qcow2", "-b", "sub/middle.qcow2", "-F", "qcow2", top, "4M")
    qemu_io(top, "write -P 3 1536k 3k", "write -z 0 64k")
    return top


def _snapshots(folder: Path) -> Path:
    path = _written("cluster_size=32k")(folder)
    qemu_img("snapshot", "-c", "first", path)
    qemu_io(path, "write -P 9 0 5M")
    qemu_img("resize", "-q", path, "+3M")
    qemu_img("snapshot", "-c", "zweiter Stand", path)
    qemu_img("bitmap", "--add", "-g", "32k", path, "dirty0")
    qemu_img("bitmap", "--add", "--disable", path, "dirty1")
    return path


def _leaky(folder: Path) -> Path:
    """A cluster that is counted and not used."""
    path = _written("compat=1.1")(folder)
    raw = bytearray(path.read_bytes())
    reftable = int.from_bytes(raw[48:56], "big")
    block = int.from_bytes(raw[reftable : reftable + 8], "big")
    index = len(raw) // 65536 + 5
    raw[block + 2 * index + 1] = 1
    path.write_bytes(raw)
    os.truncate(path, (index + 1) * 65536)
    return path


def _sparse_raw(folder: Path) -> Path:
    path = folder / "disk.raw"
    with path.open("wb") as file:
        file.truncate(8 << 20)
        for offset in (0, 1 << 20, (5 << 20) + 4096):
            file.seek(offset)
            file.write(b"x" * 70000)
    return path


def _odd_raw(folder: Path) -> Path:
    path = folder / "odd.raw"
    path.write_bytes(b"y" * 10000)
    return path


def _empty_tail_raw(folder: Path) -> Path:
    path = folder / "tail.raw"
    path.write_bytes(b"y" * 8192)
    os.truncate(path, 100_000)
    return path


def _raw_data_file(folder: Path) -> Path:
    path = folder / "image.qcow2"
    qemu_img(
        "create", "-q", "-f", "qcow2", "-o", f"data_file={folder}/data.raw,data_file_raw=on", path,
        "4M",
    )  # fmt: skip
    return path


def _subclusters_over_subclusters(folder: Path) -> Path:
    """Clusters that are in part the overlay's, the base's (which is shorter), and nobody's."""
    base, top = _written("extended_l2=on")(folder), folder / "top.qcow2"
    qemu_img("snapshot", "-c", "one", base)
    qemu_io(base, "write -P 5 100k 3M")
    options = ("-o", "extended_l2=on,cluster_size=32k", "-b", base.name, "-F", "qcow2")
    qemu_img("create", "-q", "-f", "qcow2", *options, top, "20M")
    qemu_io(
        top, "write -P 5 101k 3k", "write -z 200k 3k", "write -z 17M 1M", "write -P 6 18M 1k",
        "discard 8M 8k",
    )  # fmt: skip
    return top


def _scattered_zeros(folder: Path) -> Path:
    """Zeros in clusters that stay allocated, and do not follow one another in the file."""
    path = folder / "image.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", "extended_l2=on", path, "1M")
    qemu_io(
        path, "write -P 1 64k 64k", "write -P 2 0 64k", "write -P 3 128k 64k", "write -z 0 180k"
    )
    return path


def _no_bytes(folder: Path) -> Path:
    path = folder / "empty.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", path, "0")
    return path


def _encrypted(folder: Path) -> Path:
    return their_luks(folder / "luks.qcow2", "4M")


READABLE: dict[str, Callable[[Path], Path]] = {
    **{f"qcow2 {options}": _written(options) for options in _GEOMETRIES},
    "chain": _chain, "snapshots and bitmaps": _snapshots, "leaky": _leaky,
    "sparse raw": _sparse_raw,
    "odd raw": _odd_raw, "raw with empty tail": _empty_tail_raw,
    "raw data file": _raw_data_file,
    "extended L2": _written("extended_l2=on"),
    "extended L2, 16k": _written("extended_l2=on,cluster_size=16k"),
    "extended L2, 2M": _written("extended_l2=on,cluster_size=2M,compression_type=zstd"),
    "extended L2 chain": _subclusters_over_subclusters, "no bytes": _no_bytes,
    "scattered zeros": _scattered_zeros,
}  # fmt: skip
DESCRIBABLE = READABLE | {"encrypted": _encrypted}
