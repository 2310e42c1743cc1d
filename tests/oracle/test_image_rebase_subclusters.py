"""Overlays with subclusters put on another base: the guest sees the same bytes."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.oracle.qemu import qemu_check, qemu_img, qemu_io
from tests.oracle.verbs import image

KiB, MiB = 1 << 10, 1 << 20


def guest_bytes(path: Path) -> bytes:
    raw = path.with_name("seen.raw")
    qemu_img("convert", "-O", "raw", path, raw)
    return raw.read_bytes()


@pytest.mark.parametrize("seed", range(6))
def test_a_rebase_never_changes_what_the_guest_sees(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    old, new, top = tmp_path / "old.raw", tmp_path / "new.raw", tmp_path / "top.qcow2"
    size = chance.choice((2 * MiB, 2 * MiB - 512))
    old.write_bytes(os.urandom(chance.choice((MiB, 3 * MiB)))[: 3 * MiB])
    new.write_bytes(bytearray(old.read_bytes()[: 512 * KiB]) + os.urandom(chance.choice((0, MiB))))
    cluster = chance.choice(("16k", "64k"))
    options = f"extended_l2=on,cluster_size={cluster}"
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, "-b", old, "-F", "raw", top, str(size))
    actions = [f"write -c -P 9 {MiB} 64k"]
    for _ in range(30):
        length = chance.choice((512, 2 * KiB, 5 * KiB, 40 * KiB))
        offset = chance.randrange(0, (size - length) // 512) * 512
        actions.append(f"{chance.choice(('write -P 7', 'write -z', 'discard'))} {offset} {length}")
    qemu_io(top, *actions)
    before = guest_bytes(top)
    assert image("rebase", top, "-b", new, "-F", "raw") == 0
    assert guest_bytes(top) == before
    assert qemu_check(top)[0] == 0
    assert image("rebase", top) == 0
    assert guest_bytes(top) == before
    assert qemu_check(top)[0] == 0


def test_what_both_bases_show_is_not_copied(tmp_path: Path) -> None:
    old, new, top = tmp_path / "old.raw", tmp_path / "new.raw", tmp_path / "top.qcow2"
    old.write_bytes(os.urandom(MiB))
    new.write_bytes(old.read_bytes())
    qemu_img("create", "-q", "-f", "qcow2", "-o", "extended_l2=on", "-b", old, "-F", "raw", top)
    qemu_io(top, "write -P 1 10k 4k")
    map_before = qemu_img("map", "--output=json", top)
    assert image("rebase", top, "-b", new, "-F", "raw") == 0
    assert qemu_img("map", "--output=json", top) == map_before
