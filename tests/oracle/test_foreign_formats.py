"""Images in foreign formats: named with the converting command, taken for raw by no verb."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from growdisk import api
from growdisk.api.images.checking import check_image
from growdisk.api.images.comparing import compare_images
from growdisk.api.images.converting import RawTarget, Source, convert_image
from growdisk.api.images.creating import create_overlay, create_qcow2
from growdisk.api.images.guest_bytes import read_bytes, write_bytes
from growdisk.api.images.info import image_info
from growdisk.api.images.layers import rebase_overlay, rebase_unsafe
from growdisk.api.images.mapping import image_map
from growdisk.api.images.resizing import resize_image
from growdisk.errors import GrowdiskError, ImageNotReadable, ImageUnsupported, Refused
from growdisk.planner.goal import Goal, RunOptions
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.probe import probe_format
from growdisk.units import SizeSpec, parse_size
from tests.oracle.qemu import qemu_img

# those that qemu-img can make
MADE = ("parallels", "qcow", "qed", "vdi", "vhdx", "vmdk", "vpc", "luks")
WRITTEN = {  # the others, by the beginning that QEMU's driver looks for
    "bochs": b"Bochs Virtual HD Image\0".ljust(32, b"\0") + b"Redolog\0",
    "cloop": (
        b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n"
    ),
    "vmdk": b"# a comment first\n#\n  \nversion=1\nCID=fffffffe\n",
    "parallels": b"WithouFreSpacExt",
}
MORE = Goal(SizeSpec(1 << 20, relative=True))
Verb = Callable[[Path, Path], object]


def quiet(_done: int, _total: int) -> None:
    pass


VERBS: dict[str, Verb] = {
    "info": lambda image, _: image_info(image),
    "map": lambda image, _: list(image_map(image)),
    "check": lambda image, _: check_image(image),
    "compare": lambda image, _: compare_images(image, image, (None, None)),
    "resize": lambda image, _: resize_image(image, parse_size("+1M")),
    "convert": lambda image, new: convert_image(Source(image), new, RawTarget(), quiet),
    "read": lambda image, new: read_bytes(image, 0, 512, new),
    "write": lambda image, _: write_bytes(image, 0, Path(__file__)),
    "overlay": lambda image, new: create_overlay(image, new),
    "create": lambda image, new: create_qcow2(new, None, CreateOptions(), str(image)),
    "inspect": lambda image, _: api.inspect(image),
    "plan": lambda image, _: api.plan(image, MORE, RunOptions()),
    "expand": lambda image, _: api.expand(image, MORE, RunOptions()),
}


def made(driver: str, folder: Path) -> Path:
    path, words = folder / f"disk.{driver}", ["-f", driver]
    if driver == "luks":
        (folder / "key").write_bytes(b"secret")
        words += [
            "--object",
            f"secret,id=key,file={folder / 'key'}",
            "-o",
            "key-secret=key,iter-time=10",
        ]
    qemu_img("create", "-q", *words, path, "4M")
    return path


def refused(verb: Verb, image: Path, new: Path) -> str:
    before = image.read_bytes()
    with pytest.raises(ImageUnsupported) as caught:
        verb(image, new)
    assert image.read_bytes() == before and not new.exists()
    return f"{caught.value.why} {caught.value.what_to_do}"


@pytest.mark.parametrize("driver", MADE)
def test_an_image_of_another_format_is_named_by_every_verb(driver: str, tmp_path: Path) -> None:
    image = made(driver, tmp_path)
    for name, verb in VERBS.items():
        told = refused(verb, image, tmp_path / "new")
        assert "growdisk knows qcow2 and raw" in told and "qemu-img convert -O qcow2" in told, name
        assert "-f raw" in told and driver in told, name


@pytest.mark.parametrize("driver", WRITTEN)
def test_so_is_one_that_only_begins_like_it(driver: str, tmp_path: Path) -> None:
    image = tmp_path / "disk"
    image.write_bytes(WRITTEN[driver].ljust(1 << 16, b"\0"))
    assert f"-f {driver} " in refused(VERBS["convert"], image, tmp_path / "new")


def test_a_fixed_vhd_is_known_by_its_end(tmp_path: Path) -> None:
    qemu_img("create", "-q", "-f", "vpc", "-o", "subformat=fixed", tmp_path / "fixed", "4M")
    data = (tmp_path / "fixed").read_bytes()
    assert b"conectix" not in data[:512]
    for name, content in (("whole", data), ("old", data[:-1])):
        (tmp_path / name).write_bytes(content)
        assert "a VHD image" in refused(VERBS["resize"], tmp_path / name, tmp_path / "new")


def test_a_dmg_is_known_by_its_end_or_its_name(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(1 << 16) + b"koly".ljust(512, b"\0"))
    (tmp_path / "disk.dmg").write_bytes(bytes(1 << 16))
    for image in (tmp_path / "disk", tmp_path / "disk.dmg"):
        assert "a DMG image" in refused(VERBS["info"], image, tmp_path / "new")


def test_qemus_own_command_from_the_message_makes_it_qcow2(tmp_path: Path) -> None:
    image = made("vdi", tmp_path)
    with pytest.raises(ImageUnsupported) as caught:
        probe_format(image)
    command = caught.value.what_to_do.partition(" makes it")[0]
    assert os.system(command) == 0
    assert probe_format(image.with_suffix(".qcow2")) == "qcow2"


def test_who_says_raw_gets_its_bytes_as_they_are(tmp_path: Path) -> None:
    image = made("vmdk", tmp_path)
    assert image_info(image, "raw").virtual_size == image.stat().st_size
    read_bytes(image, 0, 4, tmp_path / "out", "raw")
    assert (tmp_path / "out").read_bytes() == b"KDMV"


def test_a_backing_file_of_another_format_is_named_too(tmp_path: Path) -> None:
    create(tmp_path / "top", 1 << 20, CreateOptions(), backing=made("vdi", tmp_path).name)
    for verb in ("map", "convert", "inspect"):
        assert "a VDI image" in refused(VERBS[verb], tmp_path / "top", tmp_path / "new")


def test_nothing_is_put_on_a_backing_file_of_another_format(tmp_path: Path) -> None:
    create(tmp_path / "top", 1 << 20, CreateOptions())
    base = made("qed", tmp_path).name
    refused(lambda image, _: rebase_unsafe(image, base, None), tmp_path / "top", tmp_path / "new")
    refused(
        lambda image, _: rebase_overlay(image, base, None, quiet),
        tmp_path / "top",
        tmp_path / "new",
    )


# --- what is not a file at all -------------------------------------------------------------------


def special_files(folder: Path) -> list[Path]:
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
    (folder / "folder").mkdir()
    return [
        folder / "pipe",
        folder / "socket",
        folder / "folder",
        Path("/dev/zero"),
        Path("/dev/full"),
    ]


@pytest.mark.timeout(60)
def test_pipes_sockets_folders_and_devices_without_blocks_are_refused_by_every_verb(
    tmp_path: Path,
) -> None:
    for special in special_files(tmp_path):
        for name, verb in VERBS.items():
            for chosen in (special, Path(os.path.relpath(special, tmp_path / "x"))):
                with pytest.raises(Refused):
                    verb(chosen, tmp_path / "new")
            assert not (tmp_path / "new").exists(), name


@pytest.mark.timeout(60)
def test_a_pipe_that_nobody_reads_gets_no_bytes_and_does_not_hold_the_image(tmp_path: Path) -> None:
    pipe = special_files(tmp_path)[0]
    (image := tmp_path / "image").write_bytes(bytes(1 << 20))
    with pytest.raises(GrowdiskError):
        read_bytes(image, 0, 4096, pipe)
    reader = subprocess.Popen(["sh", "-c", 'wc -c < "$0"', pipe], stdout=subprocess.PIPE)
    while reader.poll() is None:
        with suppress(GrowdiskError):  # until it has opened it
            read_bytes(image, 0, 1 << 20, pipe)
            break
    assert int(reader.communicate()[0]) == 1 << 20


@pytest.mark.timeout(60)
@pytest.mark.parametrize("backing_format", [None, "raw", "qcow2"])
def test_so_are_backing_files_that_are_no_files(backing_format: str | None, tmp_path: Path) -> None:
    for number, special in enumerate(special_files(tmp_path)):
        if special.is_absolute() and special.parent == Path("/dev"):
            continue
        top = tmp_path / f"top{number}"
        create(top, 1 << 20, CreateOptions(), backing=special.name, backing_format=backing_format)
        for verb in ("map", "convert", "resize", "inspect", "plan", "expand"):
            with pytest.raises(ImageNotReadable) as caught:
                VERBS[verb](top, tmp_path / "new")
            assert caught.value.path == special
        assert image_info(top).header is not None  # its name is told, and not followed


@pytest.mark.timeout(60)
def test_so_are_data_files_that_are_no_files(tmp_path: Path) -> None:
    image, data = tmp_path / "disk", tmp_path / "data"
    create(image, 1 << 20, CreateOptions(data_file="data"))
    for special in special_files(tmp_path)[:3]:
        data.unlink()
        data.symlink_to(special)
        for verb in ("map", "convert", "resize", "write"):
            with pytest.raises(ImageNotReadable):
                VERBS[verb](image, tmp_path / "new")
