"""Small qcow2 images in every shape that the order of writes depends on, and operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from growdisk.block.raw import RawFile
from growdisk.qcow2.bitmap_copy import BitmapSource
from growdisk.qcow2.bitmaps import AUTO, Bitmap, Directory
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import Compat, CreateOptions
from growdisk.qcow2.image import Qcow2Image
from tests.crash.recording import RecordingFile
from tests.crash.sparse import SparseBytes

KiB, MiB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Shape:
    """A format variant; `order` is the base-2 logarithm of the refcount width."""

    version: int
    cluster_bits: int
    order: int = 4
    extended: bool = False

    @property
    def options(self) -> CreateOptions:
        compat: Compat = "0.10" if self.version == 2 else "1.1"
        return CreateOptions(
            1 << self.cluster_bits, compat, 1 << self.order, extended_l2=self.extended
        )

    def __str__(self) -> str:
        return f"v{self.version}-{1 << self.cluster_bits}-{1 << self.order}bit{'-extended' if self.extended else ''}"  # noqa: E501


@dataclass(frozen=True)
class Scenario:
    """`prepare` makes the world before, `act` is what the machine dies in. Both end durable."""

    name: str
    prepare: Callable[[Qcow2Image], object]
    act: Callable[[Qcow2Image], object]
    size: int = 1 * MiB
    backed: bool = False
    # the guest sees all of the change or nothing; else old or new bytes, sector by sector
    whole: bool = True

    def __str__(self) -> str:
        return self.name


class World:
    """One scenario on one shape: `start` is the image file before the act."""

    def __init__(self, directory: Path, shape: Shape, scenario: Scenario) -> None:
        self.path, self.scenario = directory / f"{scenario}-{shape}.qcow2", scenario
        self.backing = directory / "base.raw" if scenario.backed else None
        if self.backing is not None:
            self.backing.write_bytes(pattern(9, 700 * KiB))
        create(
            self.path,
            scenario.size,
            shape.options,
            backing=self.backing,
            backing_format="raw" if self.backing else None,
        )
        file = RecordingFile.load(self.path)
        self._do(file, scenario.prepare)
        self.start: SparseBytes = file.content

    def open(self, file: RecordingFile, *, writable: bool = True) -> Qcow2Image:
        backing = RawFile.open(self.backing, lock=False) if self.backing is not None else None
        return Qcow2Image.over(file, self.path, writable=writable, backing=backing)

    def act(self) -> tuple[RecordingFile, int]:
        """(the act's recording, its number of events when the engine reported it as durable)."""
        file = RecordingFile(self.start.copy())
        return file, self._do(file, self.scenario.act)

    def _do(self, file: RecordingFile, what: Callable[[Qcow2Image], object]) -> int:
        image = self.open(file)
        what(image)
        if not self.scenario.whole:
            image.flush()  # the others are durable when they return
        durable = len(file.log)
        image.close()
        return durable


def pattern(seed: int, length: int) -> bytes:
    """Bytes that tell where they were written, and by whom."""
    sectors = -(-length // 512)
    return b"".join(bytes([seed, index & 255, index >> 8, 255]) * 128 for index in range(sectors))[
        :length
    ]


def write(seed: int, offset: int, length: int) -> Callable[[Qcow2Image], object]:
    return lambda image: image.write(offset, pattern(seed, length))


def several(*parts: Callable[[Qcow2Image], object]) -> Callable[[Qcow2Image], object]:
    def run(image: Qcow2Image) -> None:
        for part in parts:
            part(image)

    return run


def take(name: str) -> Callable[[Qcow2Image], object]:
    return lambda image: image.create_snapshot(name)


def go_back(name: str) -> Callable[[Qcow2Image], object]:
    return lambda image: image.apply_snapshot(name)


def forget(name: str) -> Callable[[Qcow2Image], object]:
    return lambda image: image.delete_snapshot(name)


def grow(size: int) -> Callable[[Qcow2Image], object]:
    return lambda image: image.resize(size)


def zero(offset: int, length: int) -> Callable[[Qcow2Image], object]:
    return lambda image: image.write_zeros(offset, length)


SOME_DATA = several(
    write(1, 0, 150 * KiB), write(2, 300 * KiB, 70 * KiB), write(3, 900 * KiB, 1 * KiB)
)
ONE_SNAPSHOT = several(SOME_DATA, take("old"))
TWO_SNAPSHOTS = several(
    ONE_SNAPSHOT, write(4, 100 * KiB, 100 * KiB), take("new"), write(5, 320 * KiB, 10 * KiB)
)

WRITES = (
    Scenario("new-clusters", SOME_DATA, write(7, 500 * KiB, 90 * KiB), whole=False),
    Scenario("in-place", SOME_DATA, write(7, 10 * KiB, 20 * KiB), whole=False),
    Scenario(
        "shared-with-snapshot", ONE_SNAPSHOT, write(7, 100 * KiB + 512, 80 * KiB), whole=False
    ),
    Scenario(
        "over-backing",
        write(1, 64 * KiB, 4 * KiB),
        write(7, 100 * KiB + 512, 60 * KiB),
        backed=True,
        whole=False,
    ),
    Scenario("zeros", ONE_SNAPSHOT, zero(20 * KiB, 100 * KiB), whole=False),
)


def compress(seed: int, offset: int, length: int) -> Callable[[Qcow2Image], object]:
    def run(image: Qcow2Image) -> None:
        size = image.header.cluster_size
        for start in range(offset // size * size, offset + length, size):
            image.write_compressed(start, pattern(seed, min(size, image.size - start)))

    return run


COMPRESSED = (
    Scenario("compressed", SOME_DATA, compress(7, 100 * KiB, 90 * KiB), whole=False),
    Scenario(
        "compressed-over-compressed",
        several(compress(1, 0, 200 * KiB), take("old"), compress(3, 0, 50 * KiB)),
        several(compress(7, 30 * KiB, 90 * KiB), write(8, 70 * KiB, 3 * KiB)), whole=False,
    ),
)  # fmt: skip
RESIZES = (
    Scenario("grow", ONE_SNAPSHOT, grow(2 * MiB)),
    Scenario("grow-odd", several(SOME_DATA, grow(1 * MiB + 512)), grow(3 * MiB + 1024)),
    Scenario(
        "grow-over-longer-backing",
        write(1, 100 * KiB, 412 * KiB),
        grow(1 * MiB),
        size=512 * KiB,
        backed=True,
    ),
    Scenario("shrink", SOME_DATA, grow(400 * KiB)),
)


def track(image: Qcow2Image) -> None:
    """A bitmap that notes writes and one that is switched off, with bits in both."""
    header, none = image.header, Directory(0, ())
    source = BitmapSource(RawFile.open(image.path, lock=False), header, none)
    source.bitmaps = (Bitmap(b"on", 0, 0, AUTO, 9), Bitmap(b"off", 0, 0, 0, 16))
    image.add_bitmaps(source)


BESIDE_BITMAPS = (
    Scenario(
        "write-beside-bitmaps",
        several(SOME_DATA, track),
        write(7, 500 * KiB, 90 * KiB),
        whole=False,
    ),
    Scenario("grow-beside-bitmaps", several(ONE_SNAPSHOT, track), grow(5 * MiB)),
    Scenario("shrink-beside-bitmaps", several(SOME_DATA, track), grow(400 * KiB)),
    Scenario("apply-beside-bitmaps", several(TWO_SNAPSHOTS, track), go_back("old")),
    Scenario("take-beside-bitmaps", several(SOME_DATA, track), take("one")),
)
UPGRADES = (
    Scenario("upgrade", ONE_SNAPSHOT, lambda image: image.resize(900 * KiB, upgrade=True)),
    Scenario(
        "upgrade-over-backing", several(write(1, 64 * KiB, 4 * KiB), take("old")),
        lambda image: image.resize(1100 * KiB, upgrade=True), backed=True,
    ),
)  # fmt: skip
SNAPSHOTS = (
    Scenario("create-first", SOME_DATA, take("first")),
    Scenario("create-third", TWO_SNAPSHOTS, take("third")),
    Scenario("apply-older", TWO_SNAPSHOTS, go_back("old")),
    Scenario("apply-newest", TWO_SNAPSHOTS, go_back("new")),
    Scenario("delete-older", TWO_SNAPSHOTS, forget("old")),
    Scenario("delete-newest", TWO_SNAPSHOTS, forget("new")),
    Scenario("delete-only", several(ONE_SNAPSHOT, write(4, 100 * KiB, 100 * KiB)), forget("old")),
)
ACROSS_SIZES = (
    Scenario(
        "apply-smaller",
        several(ONE_SNAPSHOT, grow(3 * MiB), write(4, 2 * MiB, 50 * KiB)),
        go_back("old"),
    ),
    Scenario("apply-larger", several(ONE_SNAPSHOT, grow(300 * KiB)), go_back("old")),
)
PREALLOCATED = (
    Scenario("grow-preallocated", several(ONE_SNAPSHOT, grow(700 * KiB)),
             lambda image: image.resize(2 * MiB, preallocation="metadata")),
)  # fmt: skip
L1_MOVES = (Scenario("l1-moves", ONE_SNAPSHOT, grow(40 * MiB)),)
REFTABLE_MOVES = (
    Scenario(
        "reftable-moves",
        write(1, 0, 1800 * KiB),
        write(7, 1800 * KiB, 300 * KiB),
        size=3 * MiB,
        whole=False,
    ),
    Scenario(
        "reftable-sector",
        write(1, 0, 3900 * KiB),
        write(7, 3900 * KiB, 250 * KiB),
        size=5 * MiB,
        whole=False,
    ),
    Scenario("reftable-moves-in-snapshot", write(1, 0, 1900 * KiB), take("one"), size=3 * MiB),
)
