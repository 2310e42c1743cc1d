"""Writes to an image, and to what it lies on, on a full host: all of one, or not a byte of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from growdisk.api.images.guest_bytes import write_bytes
from growdisk.api.images.layers import commit_overlay, rebase_overlay
from tests.crash.full_host import (
    DATA,
    NAME,
    SHAPES,
    SLACK,
    MiB,
    failing,
    fill,
    make,
    quiet,
)
from tests.guests.tools import run


@pytest.mark.parametrize("options", SHAPES)
def test_a_write_that_does_not_fit_leaves_no_leak(
    small: Path, tmp_path: Path, options: str
) -> None:
    image = make(small / "a.qcow2", options)
    (tmp_path / "bytes").write_bytes(b"\2" * 16 * MiB)
    failing(small, lambda: write_bytes(image, 12 * MiB, tmp_path / "bytes"))
    run("qemu-img", "check", "-q", image)
    run("qemu-io", "-r", "-c", f"read -q -P 1 0 {DATA}", image)


@pytest.mark.parametrize(
    "options",
    [
        *SHAPES,
        "cluster_size=512,refcount_bits=64",
        "data_file=data",
        "data_file=data,data_file_raw=on",
        "preallocation=metadata",
    ],
)
@pytest.mark.parametrize("snapshot", [False, True])
def test_a_write_that_does_not_fit_changes_not_a_byte(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, snapshot: bool
) -> None:
    """Also not of what could be overwritten in place, before room for the rest is wanted."""
    monkeypatch.chdir(small)  # a data file lies there for QEMU
    image = make(small / "a.qcow2", options)
    if snapshot and "data_file" not in options and "refcount_bits=1" not in options:
        run("qemu-img", "snapshot", "-c", "one", image)
    (tmp_path / "bytes").write_bytes(b"\2" * 16 * MiB)
    before = [path.stat().st_size for path in small.iterdir()]
    failing(small, lambda: write_bytes(image, 9 * MiB - 512, tmp_path / "bytes"))
    assert all(
        path.stat().st_size <= size + SLACK
        for path, size in zip(small.iterdir(), before, strict=True)
    )
    run("qemu-img", "check", "-q", image)
    zeros = f"read -q -P 0 {DATA} {64 * MiB - DATA}"
    run("qemu-io", "-r", "-c", f"read -q -P 1 0 {DATA}", "-c", zeros, image)
    (tmp_path / "bytes").write_bytes(b"\2" * 3 * MiB)
    write_bytes(image, 9 * MiB - 512, tmp_path / "bytes")
    run("qemu-img", "check", "-q", image)
    run("qemu-io", "-r", "-c", f"read -q -P 2 {9 * MiB - 512} 3M", image)


@pytest.mark.parametrize("verb", ["write", "commit"])
@pytest.mark.parametrize("options", ["cluster_size=512", "cluster_size=512,compat=0.10"])
def test_what_a_write_took_before_it_began_is_what_it_writes_into(
    small: Path, tmp_path: Path, options: str, verb: str
) -> None:
    """Its clusters lie in refcount blocks that the search for free ones has not reached."""
    image, overlay = make(small / "a.qcow2", options), tmp_path / "overlay.qcow2"
    (tmp_path / "bytes").write_bytes(b"\2" * 3 * MiB)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", overlay)
    run("qemu-io", "-c", "write -q -P 2 12M 3M", overlay)
    fill(small)
    os.truncate(small / NAME, (small / NAME).stat().st_size - 4 * MiB)
    if verb == "write":
        write_bytes(image, 12 * MiB, tmp_path / "bytes", overlays_may_break=True)
    else:
        commit_overlay(overlay, quiet)
    run("qemu-img", "check", "-q", image)
    run(
        "qemu-io", "-r", "-c", f"read -q -P 1 0 {DATA}", "-c", "read -q -P 0 10M 2M",
        "-c", "read -q -P 2 12M 3M", "-c", "read -q -P 0 15M 49M", image,
    )  # fmt: skip


def test_a_raw_disk_that_has_no_room_for_a_write_or_a_commit_is_as_it_was(
    small: Path, tmp_path: Path
) -> None:
    base, top = small / "base.raw", small / "top.qcow2"
    base.write_bytes(b"\1" * MiB)
    os.truncate(base, 40 * MiB + 100)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base.name, "-F", "raw", top, str(50 * MiB))
    run("qemu-io", "-c", "write -q -P 2 512k 14M", "-c", "write -q -z 0 64k", top)
    (tmp_path / "bytes").write_bytes(b"\2" * 16 * MiB)
    before, room = base.read_bytes(), base.stat().st_blocks
    failing(
        small, lambda: write_bytes(base, 512 << 10, tmp_path / "bytes", overlays_may_break=True)
    )
    failing(small, lambda: commit_overlay(top, quiet))
    assert (base.read_bytes(), base.stat().st_blocks) == (before, room)
    run("qemu-io", "-r", "-c", "read -q -P 2 512k 14M", top)


def test_a_commit_that_does_not_fit_leaves_a_smaller_base_as_it_was(small: Path) -> None:
    base, overlay = make(small / "base.qcow2", size=32 * MiB), small / "overlay.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base.name, "-F", "qcow2", overlay, "64M")
    run("qemu-io", "-c", "write -q -P 2 32M 8M", overlay)
    fill(small)
    before = base.read_bytes()
    failing(small, lambda: commit_overlay(overlay, quiet))
    assert base.read_bytes() == before
    run("qemu-io", "-r", "-c", "read -q -P 2 32M 8M", overlay)


def test_a_commit_and_a_rebase_that_do_not_fit_leave_both_layers_whole(small: Path) -> None:
    base, overlay = make(small / "base.qcow2"), small / "overlay.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base.name, "-F", "qcow2", overlay)
    run("qemu-io", "-c", "write -q -P 2 4M 2M", "-c", "write -q -P 2 32M 8M", overlay)
    fill(small)
    failing(small, lambda: commit_overlay(overlay, quiet))
    failing(small, lambda: rebase_overlay(overlay, None, None, quiet))
    for image in (base, overlay):
        run("qemu-img", "check", "-q", image)
    run("qemu-io", "-r", "-c", f"read -q -P 1 0 {DATA}", base)
    run("qemu-io", "-r", "-c", "read -q -P 1 0 4M", "-c", "read -q -P 2 4M 2M", overlay)
    run("qemu-io", "-r", "-c", "read -q -P 2 32M 8M", overlay)


@pytest.mark.parametrize(
    ("options", "cluster", "zeros"),
    [
        ("cluster_size=65536", 65536, "0 64k"),
        ("cluster_size=65536", 4096, "4k 4k"),
        ("extended_l2=on,cluster_size=65536", 65536, "0 64k"),
        ("compat=0.10,backing", 65536, "0 64k"),
    ],
)
def test_zeros_that_a_commit_has_no_room_for_leave_the_base_as_it_was(
    small: Path, options: str, cluster: int, zeros: str
) -> None:
    """The first table is the disk's own and changes in place; the second is a snapshot's too."""
    base, overlay, place = small / "base.qcow2", small / "overlay.qcow2", 600 * MiB
    options, below = options.removesuffix(",backing"), small / "below.qcow2"
    named = ["-b", below.name, "-F", "qcow2"] if options == "compat=0.10" else []
    make(below, size=1024 * MiB)
    run("qemu-io", "-c", f"write -q -P 1 {place} 1M", below)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, *named, base, str(1024 * MiB))
    write = ["-c", "write -q -P 1 0 64k", "-c", f"write -q -P 1 {place} 64k"]
    run("qemu-io", *write, base)
    run("qemu-img", "snapshot", "-c", "one", base)
    run("qemu-io", *write[:2], base)
    words = ["-o", f"cluster_size={cluster}", "-b", base.name, "-F", "qcow2", overlay]
    run("qemu-img", "create", "-q", "-f", "qcow2", *words)
    first, length = zeros.split()
    second = f"{place + (4096 if first == '4k' else 0)} {length}"
    run("qemu-io", "-c", f"write -q -z {zeros}", "-c", f"write -q -z {second}", overlay)
    fill(small)
    failing(small, lambda: commit_overlay(overlay, quiet))
    run("qemu-io", "-r", "-c", "read -q -P 1 0 64k", "-c", f"read -q -P 1 {place} 64k", base)
    run("qemu-img", "check", "-q", base)
    os.truncate(small / NAME, 0)
    commit_overlay(overlay, quiet)
    run("qemu-img", "check", "-q", base)
    run("qemu-io", "-r", "-c", f"read -q -P 0 {zeros}", "-c", f"read -q -P 0 {second}", base)
