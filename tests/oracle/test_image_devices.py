"""Block devices of the host as source and target, on loop devices; qemu-img and qemu-io judge."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.oracle.qemu import qemu_check, qemu_img, qemu_io
from tests.oracle.verbs import image

MiB = 1 << 20
NewDevice = Callable[[int], Path]


@pytest.fixture
def new_device(tmp_path: Path) -> Iterator[NewDevice]:
    """Makes loop devices that are full of old bytes."""
    devices: list[str] = []

    def make(size: int) -> Path:
        file = tmp_path / f"behind-{len(devices)}"
        file.write_bytes(b"\xee" * size)
        answer = subprocess.run(
            ["losetup", "--find", "--show", str(file)], capture_output=True, text=True, check=False
        )
        if answer.returncode:
            pytest.skip(f"no loop devices here: {answer.stderr.strip()}")
        devices.append(answer.stdout.strip())
        return Path(devices[-1])

    yield make
    for device in devices:
        subprocess.run(["losetup", "--detach", device], check=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", path, "8M")
    qemu_io(path, "write -P 1 1M 100k", "write -P 2 5M 1M", "write -P 3 8388096 512")
    return path


def raw_bytes(path: Path, folder: Path) -> bytes:
    raw = folder / "seen.raw"
    qemu_img("convert", "-O", "raw", path, raw)
    return raw.read_bytes()


def test_a_raw_device_gets_the_guests_bytes_and_zeros_between(
    tmp_path: Path, source: Path, new_device: NewDevice
) -> None:
    device = new_device(10 * MiB)
    assert image("convert", source, device, "-O", "raw") == 0
    assert device.read_bytes() == raw_bytes(source, tmp_path) + b"\xee" * (2 * MiB)


def test_a_device_that_is_too_small_is_refused_and_keeps_its_bytes(
    source: Path, new_device: NewDevice
) -> None:
    device = new_device(4 * MiB)
    assert image("convert", source, device, "-O", "raw") == 3
    assert image("copy", source.with_name("behind-0"), new_device(MiB)) == 3
    assert device.read_bytes() == b"\xee" * (4 * MiB)


@pytest.mark.parametrize(
    "options", ("compat=1.1", "cluster_size=4k", "compat=0.10,cluster_size=512")
)
def test_qcow2_on_a_device_is_made_written_grown_and_checked(
    tmp_path: Path, source: Path, new_device: NewDevice, options: str
) -> None:
    device = new_device(32 * MiB)
    assert image("convert", source, device, "-O", "qcow2", "-o", options) == 0
    assert qemu_check(device)[0] == 0
    assert raw_bytes(device, tmp_path) == raw_bytes(source, tmp_path)
    assert image("resize", device, "+8M") == 0
    (tmp_path / "piece").write_bytes(b"\x07" * 70_000)
    assert image("write", device, "9M", tmp_path / "piece") == 0
    assert image("snapshot", "create", device, "one") == 0
    assert image("check", device) == 0
    assert qemu_check(device)[0] == 0
    qemu_io(device, "read -P 7 9M 70000", "read -P 0 10M 6M", "read -P 2 5M 1M")


def test_a_full_device_fails_and_leaves_an_image_that_opens(
    tmp_path: Path, new_device: NewDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    device = new_device(MiB)
    assert image("create", device, "8M") == 0
    (tmp_path / "piece").write_bytes(os.urandom(2 * MiB))
    assert image("write", device, "0", tmp_path / "piece") == 4
    assert "block device" in capsys.readouterr().err
    assert qemu_check(device)[0] in (0, 3)


def test_a_device_is_a_source_for_copies_overlays_and_reads(
    tmp_path: Path, new_device: NewDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROWDISK_TRUST_REFERENCES", "1")
    device = new_device(MiB)
    copy = tmp_path / "copy"
    top = tmp_path / "top.qcow2"
    piece = tmp_path / "piece"
    assert image("copy", device, copy) == 0
    assert copy.read_bytes() == b"\xee" * MiB
    assert image("overlay", device, top) == 0
    qemu_io(top, "read -P 0xee 0 1M", "write -P 5 64k 64k")
    assert image("commit", top) == 0
    assert device.read_bytes()[MiB // 16 : MiB // 8] == b"\x05" * (MiB // 16)
    assert image("read", device, "64k", "1k", piece) == 0
    assert piece.read_bytes() == b"\x05" * 1024
    assert image("compare", device, top) == 0


def test_holes_of_a_copied_file_are_zeros_on_a_device(
    tmp_path: Path, new_device: NewDevice
) -> None:
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(MiB)
        file.seek(4096 * 16)
        file.write(b"x" * 4096)
    for mode in ("auto", "always", "never"):
        device = new_device(2 * MiB)
        assert image("copy", sparse, device, "--sparse", mode) == 0
        assert device.read_bytes() == sparse.read_bytes() + b"\xee" * MiB


def test_info_and_map_of_a_device_are_those_of_qemu_img(
    source: Path, new_device: NewDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    device = new_device(16 * MiB)
    for _ in range(2):
        for verb in ("info", "map"):
            assert image(verb, device, "--json") == 0
            assert json.loads(capsys.readouterr().out) == json.loads(
                qemu_img(verb, "--output=json", device)
            )
        assert image("convert", source, device, "-O", "qcow2") == 0
        capsys.readouterr()


@pytest.mark.parametrize("words", (("resize", "+1M"), ("create", "-f", "raw", "1M"), ("compact",)))
def test_what_a_device_cannot_be_is_refused_with_its_bytes_kept(
    new_device: NewDevice, source: Path, words: tuple[str, ...]
) -> None:
    device = new_device(16 * MiB)
    if words[0] == "compact":
        assert image("convert", source, device, "-O", "qcow2") == 0
    before = device.read_bytes()
    assert image(words[0], *words[1:-1], device, *words[-1:] if len(words) > 1 else ()) == 3
    assert device.read_bytes() == before


def test_a_mounted_device_is_not_written_to(
    tmp_path: Path, source: Path, new_device: NewDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    device, place = new_device(16 * MiB), tmp_path / "mnt"
    subprocess.run(["mkfs.ext4", "-q", "-F", str(device)], check=True)
    place.mkdir()
    if subprocess.run(
        ["mount", str(device), str(place)], capture_output=True, check=False
    ).returncode:
        pytest.skip("cannot mount here")
    try:
        assert image("convert", source, device, "-O", "raw") == 3
        assert "mount" in capsys.readouterr().err
    finally:
        subprocess.run(["umount", str(place)], check=True)
