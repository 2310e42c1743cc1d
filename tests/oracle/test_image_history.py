"""convert --keep-snapshots: every state of an image in another shape; qemu-img judges.

The backing file is left out.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.oracle.layered import seen
from tests.oracle.qemu import qemu_check, qemu_img, qemu_io
from tests.oracle.verbs import image

MiB = 1 << 20


def lived(path: Path, options: str) -> Path:
    """An image on a base, with snapshots of three sizes, of all kinds of clusters."""
    base = path.with_name("base.raw")
    base.write_bytes(os.urandom(5 * MiB))
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, "-b", base.name, "-F", "raw", path, "4M")
    qemu_io(path, "write -P 1 0 1M", "write -c -P 2 2M 512k")
    qemu_img("snapshot", "-c", "one", path)
    qemu_io(path, "write -P 3 700k 500k", "write -z 2200k 900k", "discard 0 128k")
    qemu_img("snapshot", "-c", "one", path)
    qemu_img("resize", "-q", path, "12M")
    qemu_io(path, "write -P 4 11M 700k", "write -P 5 3M 3k")
    qemu_img("snapshot", "-c", "large", path)
    qemu_img("resize", "-q", "--shrink", path, "3M")
    qemu_io(path, "write -P 6 1500k 1000k")
    return path


def snapshots(path: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(qemu_img("info", "--output=json", path)).get(
        "snapshots", []
    )
    return [{key: value for key, value in entry.items() if key != "icount"} for entry in found]


def everything(path: Path) -> list[str]:
    copy = path.with_name("copy.qcow2")
    digests = [seen(path)]
    for number in ("1", "2", "3"):
        copy.write_bytes(path.read_bytes())
        qemu_img("snapshot", "-a", number, copy)
        digests.append(seen(copy))
    copy.unlink()
    return digests


@pytest.mark.parametrize(
    "words",
    ((), ("-o", "cluster_size=4k"), ("-o", "cluster_size=2M,refcount_bits=1"),
        ("-o", "extended_l2=on"), ("-c",),
     ("-c", "-o", "cluster_size=4k,compression_type=zstd")),
)  # fmt: skip
@pytest.mark.parametrize(
    "options", ("compat=1.1", "cluster_size=4k", "extended_l2=on,cluster_size=16k")
)
def test_every_state_is_the_same_in_another_shape(
    tmp_path: Path, options: str, words: tuple[str, ...]
) -> None:
    path, new = lived(tmp_path / "image.qcow2", options), tmp_path / "new.qcow2"
    assert image("convert", path, new, "-O", "qcow2", "--keep-snapshots", *words) == 0
    assert snapshots(new) == snapshots(path)
    assert everything(new) == everything(path)
    assert "backing-filename" not in json.loads(qemu_img("info", "--output=json", new))
    code, counts = qemu_check(new)
    assert (code, counts["leaks"]) == (0, 0)


def test_what_is_the_same_in_two_states_is_stored_once(tmp_path: Path) -> None:
    path, new = tmp_path / "image.qcow2", tmp_path / "new.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", path, "64M")
    qemu_io(path, "write -P 1 0 32M")
    for name in "abc":
        qemu_img("snapshot", "-c", name, path)
        qemu_io(path, f"write -P 7 {ord(name) - 90}M 64k")
    assert image("convert", path, new, "--keep-snapshots") == 0
    assert new.stat().st_size <= 34 * MiB


def test_snapshots_that_cannot_be_kept_are_refused(tmp_path: Path) -> None:
    path, new = lived(tmp_path / "image.qcow2", "compat=1.1"), tmp_path / "new.qcow2"
    assert image("convert", path, new, "--keep-snapshots", "-o", "compat=0.10") == 3
    assert image("convert", path, new, "--keep-snapshots", "-o", f"data_file={tmp_path / 'd'}") == 3
    assert image("convert", path, new, "--keep-snapshots", "-l", "large") == 3
    assert image("convert", path, new, "--keep-snapshots", "-O", "raw") == 2
    assert not new.exists()
    assert not (tmp_path / "d").exists()
