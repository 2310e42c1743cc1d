"""Random sequences of all operations, on images of every kind, against bytes and QEMU.

`EXAMPLES=1000 pytest tests/oracle/test_image_properties.py` looks closer.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from growdisk.api.images.compacting import compact_image
from growdisk.api.images.converting import Qcow2Target, Source, convert_image
from growdisk.api.images.layers import commit_overlay, rebase_overlay
from growdisk.errors import Refused
from growdisk.qcow2 import encryption
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.image import Qcow2Image
from tests.oracle.qemu import qemu_img

KEY = b"correct horse"
SECRET = ("--object", f"secret,id=s,data={KEY.decode()}")
MAX_SIZE = 3 << 19


@dataclass(frozen=True)
class Shape:
    version: int
    cluster_bits: int
    refcount_order: int
    kind: str  # plain, extended, zstd, data file, encrypted, encrypted data file
    backed: bool
    sectors: int  # of the disk at first

    @property
    def options(self) -> CreateOptions:
        return CreateOptions(
            1 << self.cluster_bits,
            "0.10" if self.version == 2 else "1.1",
            1 << self.refcount_order,
            extended_l2=self.kind == "extended",
            compression_type="zstd" if self.kind == "zstd" else "zlib",
        )


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    version = draw(st.sampled_from((3, 3, 3, 2)))
    kinds = (
        ("plain", "encrypted")
        if version == 2
        else ("plain", "extended", "zstd", "data file", "encrypted", "encrypted data file")
    )
    kind = draw(st.sampled_from(kinds))
    bits = draw(st.sampled_from((14, 16, 21) if kind == "extended" else (9, 9, 11, 12, 16, 16, 21)))
    order = 4 if version == 2 else draw(st.integers(0, 6))
    backed = "data file" not in kind and draw(st.booleans())
    return Shape(version, bits, order, kind, backed, draw(st.integers(8, 1000)))


#: What is done, and three numbers from which it takes place, length and value.
STEPS = st.tuples(
    st.sampled_from(
        ("write", "write", "write", "theirs", "zero", "discard", "compressed", "reopen", "keep",
            "keep", "go back",
         "forget", "grow", "shrink", "commit", "rebase", "convert", "compact")
    ),
    st.integers(0, 1 << 20), st.integers(1, 1 << 18), st.integers(0, 255),
)  # fmt: skip


@dataclass
class World:
    """The image, and what it must show. `base`: what the backing file shows; zeros follow."""

    path: Path
    shape: Shape
    data: bytearray
    snapshots: dict[str, bytes] = field(default_factory=dict)
    numbers: int = 0

    def do(self, what: str, a: int, b: int, c: int) -> None:
        start = a % len(self.data)
        length = min(b, len(self.data) - start)
        if c % 2:
            start, length = start // 512 * 512, max(length // 512 * 512, 512)
        action = getattr(self, f"_{what.replace(' ', '_')}")
        try:
            action(start, length, c)
        except Refused as error:
            assert self._may_be_refused(what), f"{what}: {error}"

    def _may_be_refused(self, what: str) -> bool:
        kind = self.shape.kind
        return (
            (what in ("keep", "go back", "forget") and "data file" in kind)
            or (what in ("grow", "shrink") and self.shape.version == 2 and bool(self.snapshots))
            or (what == "compressed" and ("encrypted" in kind or "data file" in kind))
            # its clusters move, and it is not told the key
            or (what == "compact" and kind == "encrypted")
        )

    # --- by the image itself ----------------------------------------------------------------------

    def _open(self) -> Qcow2Image:
        return Qcow2Image.open(self.path, writable=True, key=self._key())

    def _write(self, start: int, length: int, value: int) -> None:
        piece = bytes([value, value ^ 0x55]) * (length // 2 + 1)
        with self._open() as image:
            image.write(start, piece[:length])
        self.data[start : start + length] = piece[:length]

    def _zero(self, start: int, length: int, _value: int) -> None:
        with self._open() as image:
            image.write_zeros(start, length)
        self.data[start : start + length] = bytes(length)

    def _discard(self, start: int, length: int, _value: int) -> None:
        with self._open() as image:
            image.discard(start, length)
            now = image.read(start, length)
        assert all(
            byte in (0, old)
            for byte, old in zip(now, self.data[start : start + length], strict=True)
        )
        self.data[start : start + length] = now

    def _compressed(self, start: int, _length: int, value: int) -> None:
        cluster = 1 << self.shape.cluster_bits
        start = start // cluster * cluster
        piece = bytes([value]) * min(cluster, len(self.data) - start)
        with self._open() as image:
            image.write_compressed(start, piece)
        self.data[start : start + len(piece)] = piece

    def _reopen(self, _start: int, _length: int, _value: int) -> None:
        with self._open() as image:
            assert image.read(0, image.size) == self.data

    def _keep(self, _start: int, _length: int, _value: int) -> None:
        self.numbers += 1
        with self._open() as image:
            image.create_snapshot(f"s{self.numbers}")
        self.snapshots[f"s{self.numbers}"] = bytes(self.data)

    def _go_back(self, _start: int, _length: int, value: int) -> None:
        if self.snapshots:
            name = sorted(self.snapshots)[value % len(self.snapshots)]
            with self._open() as image:
                image.apply_snapshot(name)
            self.data = bytearray(self.snapshots[name])

    def _forget(self, _start: int, _length: int, value: int) -> None:
        if self.snapshots:
            name = sorted(self.snapshots)[value % len(self.snapshots)]
            with self._open() as image:
                image.delete_snapshot(name)
            del self.snapshots[name]

    def _grow(self, _start: int, length: int, _value: int) -> None:
        size = min(len(self.data) + length // 512 * 512, MAX_SIZE)
        with self._open() as image:
            image.resize(max(size, len(self.data)))
        self.data += bytes(max(size - len(self.data), 0))

    def _shrink(self, _start: int, length: int, _value: int) -> None:
        size = max(len(self.data) - length // 512 * 512, 4096)
        with self._open() as image:
            image.resize(min(size, len(self.data)))
        del self.data[size:]

    # --- by the verbs of growdisk image, and by QEMU ----------------------------------------------

    def _commit(self, _start: int, _length: int, _value: int) -> None:
        if self.shape.backed and not self.snapshots and self._has_backing():
            commit_overlay(self.path, _quiet, *self._keys())

    def _rebase(self, _start: int, _length: int, value: int) -> None:
        if self.snapshots:
            return  # they would show the new base
        name = ("other.raw", None)[value % 2]
        rebase_overlay(self.path, name, "raw" if name else None, _quiet, *self._keys())

    def _has_backing(self) -> bool:
        with Qcow2Image.open(self.path, with_backing=False) as image:
            return image.header.backing_file is not None

    def _convert(self, _start: int, _length: int, value: int) -> None:
        if "data file" in self.shape.kind:
            return
        target, key = self.path.with_name("converted"), self._key()
        compress = bool(value % 2) and key is None
        convert_image(
            Source(self.path, key=key),
            target,
            Qcow2Target(self.shape.options, compress, 1, key),
            _quiet,
        )
        target.replace(self.path)
        self.snapshots.clear()

    def _compact(self, _start: int, _length: int, _value: int) -> None:
        compact_image(self.path)

    def _theirs(self, start: int, length: int, value: int) -> None:
        command = f"write -P {value} {start // 512 * 512} {max(length // 512 * 512, 512)}"
        length, start = max(length // 512 * 512, 512), start // 512 * 512
        if start + length > len(self.data):
            return
        done = subprocess.run(
            ["qemu-io", *self.their_words(), "-c", command], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.data[start : start + length] = bytes([value]) * length

    def _keys(self) -> tuple[bytes, ...]:
        return (KEY,) if self._key() else ()

    def _key(self) -> bytes | None:
        return KEY if "encrypted" in self.shape.kind else None

    def their_words(self) -> list[str]:
        if "encrypted" not in self.shape.kind:
            return ["--image-opts", f"driver=qcow2,file.filename={self.path}"]
        return [
            *SECRET,
            "--image-opts",
            f"driver=qcow2,file.filename={self.path},encrypt.key-secret=s",
        ]


def _quiet(_done: int, _total: int) -> None:
    pass


@settings(
    max_examples=int(os.environ.get("EXAMPLES", "15")), deadline=None,
    derandomize="EXAMPLES" not in os.environ,
    database=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
)  # fmt: skip
@given(shape=shapes(), steps=st.lists(STEPS, min_size=4, max_size=14))
def test_whatever_is_done_the_guest_sees_what_it_wrote(
    shape: Shape, steps: list[tuple[str, int, int, int]]
) -> None:
    quick_keys = patch.object(encryption, "_iterations", lambda _seconds: 1000)
    with TemporaryDirectory(prefix="growdisk-") as directory, quick_keys:
        world = make_world(Path(directory), shape)
        for step in steps:
            world.do(*step)
        judge(world)


def make_world(directory: Path, shape: Shape) -> World:
    path, size = directory / "image.qcow2", 512 * shape.sectors
    base = bytes(range(250)) * 1024
    (directory / "base.raw").write_bytes(base)
    (directory / "other.raw").write_bytes(base[: len(base) // 2] + bytes(9000))
    options = shape.options
    if "data file" in shape.kind:
        options = CreateOptions(
            options.cluster_size, "1.1", options.refcount_bits, data_file=str(directory / "data")
        )
    create(
        path,
        size,
        options,
        backing=Path("base.raw") if shape.backed else None,
        backing_format="raw" if shape.backed else None,
        key=KEY if "encrypted" in shape.kind else None,
    )
    return World(
        path, shape, bytearray(base[:size].ljust(size, b"\0")) if shape.backed else bytearray(size)
    )


def judge(world: World) -> None:
    """QEMU finds no error or leak, and reads what the model says; so do we, in snapshots too."""
    qemu_img("check", *world.their_words())
    wanted = world.path.with_name("wanted")
    wanted.write_bytes(world.data)
    images = ["--image-opts", world.their_words()[-1], f"driver=raw,file.filename={wanted}"]
    qemu_img("compare", *(SECRET if "encrypted" in world.shape.kind else ()), *images)
    with world._open() as image:
        assert image.size == len(world.data)
        assert image.read(0, image.size) == world.data
        assert {info.name for info in image.snapshots()} == set(world.snapshots)
        for name, content in world.snapshots.items():
            assert image.snapshot_view(name).read(0, len(content)) == content, name
