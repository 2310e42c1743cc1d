"""Seeded random operations against a model of bytes; qemu-img judges after each sequence."""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from growdisk.errors import ImageUnsupported
from growdisk.qcow2 import metadata, refcounts
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.image import Qcow2Image

KIB = 1 << 10
GEOMETRIES = [
    # version, cluster_bits, refcount_order, with a backing file, disk size
    (3, 16, 4, False, 4096 * KIB),
    (3, 16, 4, True, 4096 * KIB),
    (2, 16, 4, False, 4096 * KIB),
    (2, 12, 4, True, 1024 * KIB),
    (3, 9, 4, False, 512 * KIB),
    (3, 9, 6, True, 256 * KIB),
    (3, 12, 2, False, 1024 * KIB),
    (3, 12, 3, True, 1024 * KIB),
    (3, 14, 5, True, 2048 * KIB),
    (3, 21, 4, True, 16384 * KIB),
    (3, 12, 0, False, 1024 * KIB),
]
WITH_OPTIONS = [
    (3, 16, 4, True, 4096 * KIB, ",extended_l2=on"),
    (3, 14, 3, False, 2048 * KIB, ",extended_l2=on"),
    (3, 16, 4, True, 512 * KIB, ",extended_l2=on,data_file=data.raw"),
    (3, 12, 4, True, 1024 * KIB, ",data_file=data.raw"),
]


@dataclass
class Model:
    """What the guest must see."""

    data: bytearray
    snapshots: dict[str, bytes] = field(default_factory=dict)


class Actor:
    """Does one random thing after the other to an image and to its model."""

    def __init__(
        self, path: Path, model: Model, rng: random.Random, *, version: int, backing_size: int
    ) -> None:
        self.path, self.model, self.rng = path, model, rng
        self.version, self.backing_size = version, backing_size
        self.image = Qcow2Image.open(path, writable=True)
        self.names = 0
        self.has_snapshots = not self.image.header.has(Incompatible.DATA_FILE)

    def act(self) -> None:
        actions = (
            [self.write] * 6
            + [self.zero] * 2
            + [self.discard, self.flush, self.reopen, self.read, self.read]
        )
        actions += [self.grow, self.shrink]
        if self.has_snapshots:
            actions += [self.create, self.create, self.apply, self.delete]
            actions += [self.go_back, self.forget_newest]
        self.rng.choice(actions)()

    def span(self) -> tuple[int, int]:
        size = len(self.model.data)
        start = self.rng.randrange(size)
        length = min(self.rng.choice([1, 512, 4096, 70000, size // 3]), size - start)
        if self.rng.random() < 0.5:
            start, length = start // 512 * 512, max(length // 512 * 512, 1)
        return start, length

    def write(self) -> None:
        start, length = self.span()
        data = self.rng.randbytes(16) * (length // 16 + 1)
        self.image.write(start, data[:length])
        self.model.data[start : start + length] = data[:length]

    def zero(self) -> None:
        start, length = self.span()
        self.image.write_zeros(start, length)
        self.model.data[start : start + length] = bytes(length)

    def discard(self) -> None:
        start, length = self.span()
        self.image.discard(start, length)
        seen = self.image.read(start, length)
        old = self.model.data[start : start + length]
        assert all(new in (0, before) for new, before in zip(seen, old, strict=True))
        self.model.data[start : start + length] = seen

    def flush(self) -> None:
        self.image.flush()

    def reopen(self) -> None:
        self.image.close()
        self.image = Qcow2Image.open(self.path, writable=True)

    def read(self) -> None:
        start, length = self.span()
        assert self.image.read(start, length) == self.model.data[start : start + length]

    def create(self) -> None:
        self.names += 1
        name = f"snapshot {self.names}"
        try:
            self.image.create_snapshot(name)
        except ImageUnsupported:
            assert self.image.header.refcount_bits <= 2
        else:
            self.model.snapshots[name] = bytes(self.model.data)

    def apply(self) -> None:
        if self.model.snapshots:
            name = self.rng.choice(sorted(self.model.snapshots))
            try:
                self.image.apply_snapshot(name)
            except ImageUnsupported:
                assert self.image.header.refcount_bits <= 2
            else:
                self.model.data = bytearray(self.model.snapshots[name])

    def delete(self) -> None:
        if self.model.snapshots:
            name = self.rng.choice(sorted(self.model.snapshots))
            self.image.delete_snapshot(name)
            del self.model.snapshots[name]

    def go_back(self) -> None:
        """As a run is rolled back: to a snapshot, which goes with all newer ones."""
        names = list(self.model.snapshots)
        if not names:
            return
        name = self.rng.choice(names)
        newer = names[names.index(name) + 1 :]
        # Refused if the snapshot's L1 table is too short for its disk: QEMU's may be.
        if self.image.revert_to(name, newer):
            self.model.data = bytearray(self.model.snapshots[name])
            for gone in (name, *newer):
                del self.model.snapshots[gone]

    def forget_newest(self) -> None:
        names = list(self.model.snapshots)
        newest = names[self.rng.randrange(len(names)) :] if names else []
        self.image.forget_newest_snapshots(newest)
        for gone in newest:
            del self.model.snapshots[gone]

    def grow(self) -> None:
        self._resize(len(self.model.data) + 512 * self.rng.randrange(1, 300))

    def shrink(self) -> None:
        self._resize(max(len(self.model.data) - 512 * self.rng.randrange(1, 300), 4096))

    def _resize(self, size: int) -> None:
        if self.version == 2 and self.model.snapshots:
            with pytest.raises(ImageUnsupported):
                self.image.resize(size)
            return
        self.image.resize(size)
        grown = max(size - len(self.model.data), 0)
        self.model.data = self.model.data[:size] + bytes(grown)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("version", "cluster_bits", "refcount_order", "backed", "size", "more"),
    [*((*geometry, "") for geometry in GEOMETRIES), *WITH_OPTIONS],
)
def test_random_operations_leave_what_the_model_says_and_qemu_finds_no_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: int,
    cluster_bits: int,
    refcount_order: int,
    backed: bool,
    size: int,
    more: str,
    seed: int,
) -> None:
    if seed:  # tables are evicted all the time
        monkeypatch.setattr(metadata, "L2_CACHE_BYTES", 2 << cluster_bits)
        monkeypatch.setattr(refcounts, "CACHE_BYTES", 1 << cluster_bits)
    rng = random.Random(f"{version} {cluster_bits} {refcount_order} {backed} {seed}{more}")
    path, base = tmp_path / "image.qcow2", tmp_path / "base.raw"
    content = bytearray(size)
    backing_size = 0
    if backed:
        backing_size = size * rng.choice([1, 3]) // 2 // 512 * 512
        below = rng.randbytes(64) * (backing_size // 64)
        base.write_bytes(below)
        content = bytearray(below[:size].ljust(size, b"\0"))
    options = f"cluster_size={1 << cluster_bits},refcount_bits={1 << refcount_order}{more}"
    create(
        path,
        size,
        CreateOptions.parse(f"compat={'0.10' if version == 2 else '1.1'},{options}"),
        backing=Path(base.name) if backed else None,
        backing_format="raw" if backed else None,
    )
    actor = Actor(path, Model(content), rng, version=version, backing_size=backing_size)
    for _ in range(3):
        for _ in range(25):
            actor.act()
        assert actor.image.read(0, actor.image.size) == actor.model.data
        actor.image.close()
        _judge(path, actor.model, tmp_path)
        actor.image = Qcow2Image.open(path, writable=True)
    actor.image.close()


def _judge(path: Path, model: Model, scratch: Path) -> None:
    check = subprocess.run(["qemu-img", "check", path], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr
    wanted = scratch / "wanted.raw"
    wanted.write_bytes(model.data)
    compare = subprocess.run(
        ["qemu-img", "compare", "-f", "qcow2", "-F", "raw", path, wanted],
        capture_output=True,
        text=True,
    )
    assert compare.returncode == 0, compare.stdout + compare.stderr
    with Qcow2Image.open(path) as image:
        assert image.size == len(model.data)
        assert [snapshot.name for snapshot in image.snapshots()] == list(model.snapshots)
