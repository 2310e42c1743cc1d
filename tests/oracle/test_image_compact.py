"""compact by the command line: guest and snapshots stay, the file is as small as a new one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.image import Qcow2Image
from tests.crash.full_host import small_file_system
from tests.oracle.encrypted import their_luks
from tests.oracle.layered import seen
from tests.oracle.qemu import qemu_check, qemu_img, qemu_io
from tests.oracle.verbs import image, info

MiB = 1 << 20
GEOMETRIES = (
    "compat=0.10", "compat=1.1", "cluster_size=4k,refcount_bits=32", "cluster_size=2M",
    "compression_type=zstd,cluster_size=16k", "extended_l2=on",
    "extended_l2=on,cluster_size=16k,refcount_bits=32",
)  # fmt: skip


def worn(path: Path, options: str) -> Path:
    """An image over a base, with snapshots, compressed clusters, leaks and holes.

    It has three snapshots, one of another size.
    """
    base = path.with_name("base.raw")
    base.write_bytes(os.urandom(4 * MiB))
    qemu_img(
        "create", "-q", "-f", "qcow2", "-o", options, "-b", base.name, "-F", "raw", path, "12M"
    )
    qemu_io(path, "write -P 1 0 3M", "write -c -P 2 4M 2M", "write -P 3 8M 1M")
    qemu_img("snapshot", "-c", "one", path)
    qemu_io(path, "write -P 4 1M 300k", "write -P 5 10M 2M")
    qemu_img("snapshot", "-c", "two", path)
    if "0.10" not in options:
        qemu_img("resize", "-q", path, "14M")
        qemu_io(path, "write -z 0 2M", "write -P 6 13M 1M")
    qemu_img("snapshot", "-c", "three", path)
    qemu_io(path, "write -P 7 5M 4M", "write -P 8 2M 1M")
    qemu_img("snapshot", "-d", "two", path)
    return path


def everything(path: Path) -> list[str]:
    """What the guest sees now and in each snapshot, at its own size."""
    copy = path.with_name("copy.qcow2")
    digests = [seen(path)]
    for name in ("one", "three"):
        copy.write_bytes(path.read_bytes())
        qemu_img("snapshot", "-a", name, copy)
        digests.append(seen(copy))
    copy.unlink()
    return digests


@pytest.mark.parametrize("options", GEOMETRIES)
def test_a_worn_image_is_smaller_and_holds_the_same(tmp_path: Path, options: str) -> None:
    path = worn(tmp_path / "image.qcow2", options)
    before, facts, size = everything(path), info(path), path.stat().st_size
    assert image("compact", path) == 0
    assert everything(path) == before
    code, counts = qemu_check(path)
    assert (code, counts["leaks"]) == (0, 0)
    assert path.stat().st_size < size
    assert {k: v for k, v in info(path).items() if k != "actual-size"} == {
        k: v for k, v in facts.items() if k != "actual-size"
    }
    qemu_io(path, "write -P 9 0 1M", "read -P 9 0 1M")  # nothing is shared that should not be
    assert everything(path)[1:] == before[1:]
    assert image("compact", path) == 0
    assert qemu_check(path)[0] == 0


def test_a_compacted_image_has_no_holes_filled_and_keeps_mode_and_link(tmp_path: Path) -> None:
    path, link = tmp_path / "image.qcow2", tmp_path / "link"
    qemu_img("create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", path, "64M")
    path.chmod(0o640)
    link.symlink_to(path.name)
    blocks = path.stat().st_blocks
    assert image("compact", link) == 0
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.stat().st_blocks <= blocks
    assert qemu_check(path)[0] == 0


def test_a_compacted_image_on_btrfs_is_still_not_copied_on_write(tmp_path: Path) -> None:
    with small_file_system(tmp_path / "small", "btrfs", 320 * MiB) as place:
        path = worn(place / "image.qcow2", "nocow=on")
        assert image("compact", path) == 0
        flags = subprocess.run(["lsattr", path], capture_output=True, text=True, check=True)
        assert "C" in flags.stdout.split()[0]


@pytest.mark.parametrize(
    ("options", "left_out"),
    [
        ("compat=1.1", True),
        ("cluster_size=4k", True),
        ("compat=0.10", False),
        ("extended_l2=on", False),
    ],
)
@pytest.mark.parametrize("on_base", [True, False], ids=["on a base", "alone"])
def test_what_the_host_has_nothing_of_is_left_out_where_it_still_reads_as_zeros(
    tmp_path: Path, options: str, left_out: bool, on_base: bool
) -> None:
    path = worn(tmp_path / "image.qcow2", options)
    if not on_base:
        qemu_img("rebase", "-q", "-b", "", path)
        left_out = left_out or "0.10" in options
    punched = punch(path)
    before, names = everything(path), info(path)["snapshots"]
    assert image("compact", path) == 0
    assert everything(path) == before
    assert info(path)["snapshots"] == names
    code, counts = qemu_check(path)
    assert (code, counts["leaks"]) == (0, 0)
    with path.open("rb") as file:
        kept = sum(not any(cluster) for cluster in iter(lambda: file.read(4096), b""))
    assert (kept * 4096 < punched) == left_out, (kept * 4096, punched)
    qemu_io(path, "write -P 9 0 9M", "read -P 9 0 9M")
    assert everything(path)[1:] == before[1:]


def punch(path: Path) -> int:
    """Punch half of the guest clusters' data out, whole ones and parts; returns their bytes."""
    punched = 0
    for number, row in enumerate(json.loads(qemu_img("map", "--output=json", path))):
        if row["depth"] == 0 and row["data"] and "offset" in row:
            length = row["length"] // 2 + 512 * number
            subprocess.run(
                ["fallocate", "-p", "-o", str(row["offset"]), "-l", str(length), path], check=True
            )
            punched += length
    return punched


@pytest.mark.parametrize("options", ["cluster_size=64k", "cluster_size=64k,compat=0.10"])
def test_compressed_data_whose_sectors_reach_beyond_the_files_end_stay(
    tmp_path: Path, options: str
) -> None:
    """For qemu-img such an image is sound: the sectors after the data mean nothing."""
    path = tmp_path / "image.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, path, "16M")
    qemu_io(path, "write -P 1 0 128k", "write -c -P 2 128k 64k", "write -c -P 3 192k 64k")
    qemu_io(path, "discard 0 64k")
    raw = bytearray(path.read_bytes())
    raw += bytes(-len(raw) % 65536)

    def table(at: int) -> int:
        return int.from_bytes(raw[at : at + 8], "big") & 0x00FFFFFFFFFFFE00

    entry, end = table(table(40)) + 24, len(raw) >> 16
    offset = int.from_bytes(raw[entry : entry + 8], "big") & (1 << 54) - 1
    reach = (end << 7) - (offset >> 9)  # as many sectors as go one beyond the end
    raw[entry : entry + 8] = (1 << 62 | reach << 54 | offset).to_bytes(8, "big")
    count = table(table(48)) + 2 * end
    raw[count : count + 2] = b"\0\1"
    path.write_bytes(raw)
    assert qemu_check(path)[0] == 0
    assert image("compact", path) == 0
    assert qemu_check(path)[0] == 0
    qemu_io(
        path, "read -P 1 64k 64k", "read -P 2 128k 64k", "read -P 3 192k 64k", "read -P 0 256k 15M"
    )


def test_a_preallocated_image_that_nobody_wrote_to_is_as_small_as_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "image.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", path, "1G")
    qemu_io(path, "write -P 1 600M 64k")
    assert image("compact", path) == 0
    assert path.stat().st_size <= 7 * 65536
    assert qemu_check(path)[0] == 0
    qemu_io(path, "read -P 1 600M 64k", "read -P 0 0 600M", "read -P 0 601M 423M")


def test_an_empty_image_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "image.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", path, "1G")
    qemu_io(path, "write -P 1 0 64M", "discard 0 64M")
    assert image("compact", path) == 0
    assert path.stat().st_size <= 6 * 65536
    assert qemu_check(path)[0] == 0


@pytest.mark.parametrize("options", ["cluster_size=64k", "cluster_size=2M", "cluster_size=512"])
def test_an_image_that_is_as_small_as_it_can_be_does_not_grow(
    tmp_path: Path, options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "image.qcow2"
    assert image("create", "-o", options, path, "127G" if "512" in options else "1P") == 0
    qemu_io(path, "write -P 1 1G 64k")
    blocks = path.stat().st_blocks
    assert image("compact", path) == 0
    smallest, inode = path.stat().st_blocks, path.stat().st_ino
    assert smallest <= blocks
    capsys.readouterr()
    assert image("compact", "--json", path) == 0
    assert json.loads(capsys.readouterr().out)["result"] == "nochange"
    assert (path.stat().st_blocks, path.stat().st_ino) == (smallest, inode)
    assert qemu_check(path)[0] == 0
    qemu_io(path, "read -P 1 1G 64k")


def test_what_is_left_alone_is_as_small_as_before_also_if_the_host_counts_it_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ext4 knows how many blocks a file takes to the last one when it has written it."""
    path, fresh = tmp_path / "image.qcow2", tmp_path / "fresh.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", path, "8M")
    qemu_io(path, "write -P 1 0 64k", "write -P 2 1M 64k", "write -P 3 2M 64k")
    assert image("compact", path) == 0
    data = path.read_bytes()
    with fresh.open("wb") as file:
        for place in range(0, len(data), 4096):
            if (block := data[place : place + 4096]).strip(b"\0"):
                file.seek(place)
                file.write(block)
        file.truncate(len(data))
    capsys.readouterr()
    assert image("compact", "--json", fresh) == 0
    assert json.loads(capsys.readouterr().out)["result"] == "nochange"


@pytest.mark.parametrize("kind", ["raw", "encrypted", "held", "hard link", "corrupt", "full"])
def test_what_cannot_be_compacted_is_left_as_it_is(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("disk.raw" if kind == "raw" else "image.qcow2")
    if kind == "raw":
        path.write_bytes(os.urandom(MiB))
    elif kind == "encrypted":
        their_luks(path, "4M")
    else:
        worn(path, "compat=1.1")
    if kind == "hard link":
        (tmp_path / "other").hardlink_to(path)
    if kind == "corrupt":
        raw = bytearray(path.read_bytes())
        raw[131072 + 2 * 5 : 131072 + 2 * 8] = bytes(6)  # three refcounts
        path.write_bytes(raw)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    holder = RawFile.open(path, writable=True) if kind == "held" else None
    limit = "ulimit -f 1024; " if kind == "full" else ""
    command = f"{limit}exec {sys.executable} -m growdisk.cli.main image compact {path}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    if holder is not None:
        holder.close()
    assert done.returncode == 3, done.stderr
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("size", [0, 1 * MiB, 4 * MiB, 8 * MiB])
def test_killed_at_any_time_the_image_is_the_old_or_the_new_one(tmp_path: Path, size: int) -> None:
    """When its new file has that size."""
    path = worn(tmp_path / "image.qcow2", "cluster_size=4k")
    before = seen(path)
    process = subprocess.Popen(
        [sys.executable, "-m", "growdisk.cli.main", "image", "compact", path]
    )
    is_large = False
    while not is_large:
        assert process.poll() is None, "it has ended before it could be killed"
        with suppress(FileNotFoundError):  # listed, and renamed before it was looked at
            is_large = any(new.stat().st_size >= size for new in tmp_path.glob(".*growdisk*"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert seen(path) == before
    assert qemu_check(path)[0] == 0
    assert image("compact", path) == 0
    assert seen(path) == before
    assert [file.name for file in tmp_path.iterdir() if "growdisk" in file.name] == []


@pytest.mark.parametrize("raw", ("on", "off"))
def test_with_an_external_data_file_only_the_tables_move(tmp_path: Path, raw: str) -> None:
    path, data = tmp_path / "image.qcow2", tmp_path / "data"
    options = f"data_file={data},data_file_raw={raw},cluster_size=4k"
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, path, "64M")
    qemu_io(
        path, *(f"write -P {number} {number * 2}M 1M" for number in range(1, 30)), "discard 2M 20M"
    )
    before, bytes_before, size = seen(path), data.read_bytes(), path.stat().st_size
    assert image("compact", path) == 0
    assert (seen(path), data.read_bytes()) == (before, bytes_before)
    assert path.stat().st_size <= size
    assert info(path)["format-specific"]["data"]["data-file-raw"] == (raw == "on")  # type: ignore[index]
    assert qemu_check(path)[0] == 0


@pytest.mark.parametrize(
    "options", (CreateOptions(), CreateOptions(1 << 14, extended_l2=True), CreateOptions(512))
)
def test_an_encrypted_image_is_encrypted_anew_where_its_clusters_go(
    tmp_path: Path, options: CreateOptions
) -> None:
    path, key = tmp_path / "image.qcow2", tmp_path / "key"
    key.write_bytes(b"open sesame")
    create(path, 8 * MiB, options, key=key.read_bytes(), key_seconds=0.01)
    with Qcow2Image.open(path, writable=True, key=key.read_bytes()) as disk:
        disk.write(0, os.urandom(2 * MiB))
        disk.create_snapshot("one")
        disk.write(MiB, os.urandom(3 * MiB))
        disk.create_snapshot("two")
        disk.resize(9 * MiB, preallocation="metadata")
        disk.write(5 * MiB + 1000, b"x" * 70_000)
        disk.delete_snapshot("two")
        disk.discard(2 * MiB, MiB)

    def contents() -> list[bytes]:
        with Qcow2Image.open(path, key=key.read_bytes()) as disk:
            view = disk.snapshot_view("one")
            return [disk.read(0, disk.size), view.read(0, view.size)]

    before, size = contents(), path.stat().st_size
    assert image("compact", path) == 3
    assert image("compact", path, "--key-file", key) == 0
    assert contents() == before
    assert path.stat().st_size < size
    assert image("check", path) == 0
    raw = tmp_path / "raw"
    source = f"driver=qcow2,encrypt.key-secret=s,file.filename={path}"
    qemu_img(
        "convert", "--object", f"secret,id=s,file={key}", "--image-opts", source, "-O", "raw", raw
    )
    assert raw.read_bytes() == before[0]
