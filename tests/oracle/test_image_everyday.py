"""Moving many guest bytes, on random chains; qemu-img judges what the guest sees.

Layers are raw, plain, compressed or with subclusters, of odd sizes and cluster sizes, one shorter
than the next.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from growdisk.block.compression import Libdeflate
from growdisk.cli.main import main
from tests.oracle.qemu import qemu_check, qemu_img, qemu_io

KiB, MiB = 1 << 10, 1 << 20
LAYERS = (
    "cluster_size=512", "cluster_size=4k", "compat=1.1", "cluster_size=2M", "extended_l2=on",
    "compat=0.10", "compression_type=zstd", "compression_type=zstd,cluster_size=2M",
    "extended_l2=on,cluster_size=16k",
)  # fmt: skip


def growdisk(*words: str | Path) -> int:
    return main(["image", *map(str, words)])


def seen(path: Path) -> str:
    """A digest of what the guest sees."""
    copy = path.with_name("seen.raw")
    qemu_img("convert", "-O", "raw", path, copy)
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()
    copy.unlink()
    return digest


def assert_same(one: Path, other: Path) -> None:
    subprocess.run(["qemu-img", "compare", one, other], check=True, capture_output=True)


def assert_sound(path: Path) -> None:
    assert qemu_check(path)[0] == 0


def actions(chance: random.Random, size: int, options: str) -> list[str]:
    """qemu-io commands: unaligned data, zeros, holes, whole compressed clusters if possible."""
    found = []
    for _ in range(chance.randrange(1, 12)):
        start = chance.randrange(size // 512) * 512
        length = min(chance.choice((512, 5 * KiB, 70 * KiB, 700 * KiB)), size - start)
        kinds = ("write -P 0", f"write -P {chance.randrange(1, 255)}", "discard")
        kinds += () if "0.10" in options else ("write -z",)
        found.append(f"{chance.choice(kinds)} {start} {length}")
    return found


def compressed(chance: random.Random, path: Path, size: int) -> list[str]:
    """qemu-io commands for whole compressed clusters, some of which do not compress."""
    unit = int(json.loads(qemu_img("info", "--output=json", path))["cluster-size"])
    content = path.with_suffix(".content")
    content.write_bytes(
        b"".join(chance.randbytes(chance.randrange(1, unit)) * 3 for _ in range(8))[: 2 * unit]
    )
    # once each: QEMU refuses it twice
    places = {unit * chance.randrange(max(size // unit, 1)) for _ in range(5)}
    return [
        f"write -c -s {content} {place} {unit}" for place in sorted(places) if place + unit <= size
    ]


def random_layer(chance: random.Random, path: Path, base: Path | None) -> Path:
    """One more layer, over `base` if there is one, with data of its own."""
    options, size = chance.choice(LAYERS), chance.randrange(1, 6 * MiB // 512) * 512
    over = ["-b", base, "-F", "raw" if base.suffix == ".raw" else "qcow2"] if base else []
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, *over, path, str(size))
    if chance.random() < 0.6:
        qemu_io(path, *compressed(chance, path, size))
    qemu_io(path, *actions(chance, size, options))
    return path


def random_chain(chance: random.Random, folder: Path, depth: int) -> list[Path]:
    """Layers, the lowest first; that is raw now and then, of any size in sectors."""
    layers: list[Path] = []
    if chance.random() < 0.5:
        raw = folder / "0.raw"
        raw.write_bytes(chance.randbytes(512 * chance.randrange(1, 3000)))
        os.truncate(raw, 512 * chance.randrange(1, 6000))
        layers = [raw]
    while len(layers) < depth:
        layers.append(
            random_layer(chance, folder / f"{len(layers)}.qcow2", layers[-1] if layers else None)
        )
    return layers


@pytest.mark.parametrize("seed", range(6))
def test_a_chain_converts_to_what_its_guest_sees(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    top = random_chain(chance, tmp_path, 3)[-1]
    for number, words in enumerate(
        (
            ["-O", "raw"],
            ["-O", "qcow2"],
            ["-O", "qcow2", "-o", "cluster_size=2M"],
            ["-O", "qcow2", "-o", "extended_l2=on"],
            ["-c"],
            ["-c", "--compression", "zstd", "-o", "cluster_size=4k"],
        )
    ):
        made = tmp_path / f"made{number}"
        assert growdisk("convert", top, made, *words) == 0
        assert_same(top, made)
        if "raw" not in words:
            assert_sound(made)


@pytest.mark.parametrize("seed", range(6))
def test_compare_says_what_qemu_img_says(tmp_path: Path, seed: int) -> None:
    chance = random.Random(100 + seed)
    layers = random_chain(chance, tmp_path, 3)
    copy = tmp_path / "copy.qcow2"
    qemu_img("convert", *chance.choice(([], ["-c"])), "-O", "qcow2", layers[-1], copy)
    pairs = [
        (layers[-1], layers[0]),
        (layers[-1], layers[1]),
        (layers[1], layers[0]),
        (layers[-1], copy),
    ]
    assert growdisk("compare", layers[-1], copy) == 0
    place = chance.randrange(
        copy.stat().st_size and int(qemu_img("measure", "-O", "raw", copy).split()[2]) // 512
    )
    qemu_io(copy, f"write -P 77 {place * 512} 512", f"write -P 0 {place * 512 + 1} 1")
    for one, other in pairs:
        theirs = subprocess.run(
            ["qemu-img", "compare", one, other], capture_output=True, check=False
        ).returncode
        assert growdisk("compare", one, other) == theirs, (one, other)


@pytest.mark.parametrize("seed", range(8))
def test_a_rebase_within_its_own_chain_or_beside_it_changes_nothing(
    tmp_path: Path, seed: int
) -> None:
    """Onto the base's base, another overlay of the base, a copy with other bytes, onto none."""
    chance = random.Random(200 + seed)
    layers = random_chain(chance, tmp_path, 3)
    top, before = layers[-1], seen(layers[-1])
    beside = random_layer(chance, tmp_path / "beside.qcow2", layers[0])
    other = random_layer(chance, tmp_path / "other.qcow2", None)
    bases: list[list[str | Path]] = [
        ["-b", layers[0]],
        ["-b", beside],
        ["-b", layers[1]],
        ["-b", other],
        ["-b", ""],
    ]
    chance.shuffle(bases)
    for words in bases:
        assert growdisk("rebase", top, *words) == 0
        assert seen(top) == before
        assert_sound(top)


@pytest.mark.parametrize("seed", range(8))
def test_a_commit_changes_nothing_that_the_guest_sees(tmp_path: Path, seed: int) -> None:
    chance = random.Random(300 + seed)
    *_, base, top = random_chain(chance, tmp_path, 3)
    size = int(qemu_img("measure", "-O", "raw", top).split()[2])
    before = seen(top)
    assert growdisk("commit", top) == 0
    assert seen(top) == before
    assert_sound(top)
    assert_sound(base)
    assert int(qemu_img("measure", "-O", "raw", base).split()[2]) >= size


def test_what_comes_from_a_shared_layer_is_not_read(tmp_path: Path) -> None:
    """A rebase past a layer leaves alone what that layer does not have: the overlay stays small."""
    base, middle, top = (tmp_path / name for name in ("base.qcow2", "middle.qcow2", "top.qcow2"))
    qemu_img("create", "-q", "-f", "qcow2", base, "64M")
    qemu_io(base, "write -P 1 0 64M")
    for over, under in ((middle, base), (top, middle)):
        qemu_img("create", "-q", "-f", "qcow2", "-b", under, "-F", "qcow2", over)
    qemu_io(middle, "write -P 2 1M 64k")
    before = seen(top)
    assert growdisk("rebase", top, "-b", base) == 0
    assert seen(top) == before
    assert top.stat().st_size < MiB
    assert growdisk("compare", top, middle) == 0


def test_a_layer_that_ends_early_hides_what_the_one_below_has_behind(tmp_path: Path) -> None:
    base, middle, top = (tmp_path / name for name in ("base.qcow2", "middle.qcow2", "top.qcow2"))
    qemu_img("create", "-q", "-f", "qcow2", base, "5M")
    qemu_io(base, "write -P 1 0 5M")
    for over, under, size in ((middle, base, "2M"), (top, middle, "6M")):
        qemu_img("create", "-q", "-f", "qcow2", "-b", under, "-F", "qcow2", over, size)
    before = seen(top)
    assert growdisk("compare", top, base) == 1
    for new in (base, middle):
        assert growdisk("rebase", top, "-b", new) == 0
        assert seen(top) == before


@pytest.mark.parametrize("options", ["compression_type=zlib", "compression_type=zstd"])
def test_a_broken_compressed_cluster_is_told_and_nothing_is_left(
    tmp_path: Path, options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    image, content = tmp_path / "image.qcow2", tmp_path / "content"
    content.write_bytes(bytes(range(256)) * (20 * KiB))
    qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, content, image)
    with image.open("r+b") as file:
        file.seek(-2 * KiB, os.SEEK_END)
        file.write(b"\xff" * KiB)
    left = set(tmp_path.iterdir())
    theirs = ["qemu-img", "convert", "-O", "raw", image, tmp_path / "theirs.raw"]
    assert subprocess.run(theirs, check=False, capture_output=True).returncode == 1
    (tmp_path / "theirs.raw").unlink()
    assert growdisk("convert", image, tmp_path / "made.raw") == 3
    assert "compressed cluster" in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == left


def test_without_libdeflate_zlib_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: object) -> None:
        raise OSError("no such library")

    monkeypatch.setattr(Libdeflate, "__init__", missing)
    chance, content, image = random.Random(1), tmp_path / "content.raw", tmp_path / "image.qcow2"
    content.write_bytes(
        b"".join(chance.randbytes(chance.randrange(1, 4000)) * 9 for _ in range(200))
    )
    os.truncate(content, 3 * MiB + 512)
    qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", content, image)
    assert growdisk("convert", image, tmp_path / "made.raw") == 0
    assert (tmp_path / "made.raw").read_bytes() == content.read_bytes()
