"""Images that do not end on a sector: rounded up for raw, down for qcow2, as QEMU does."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.e2e.conftest import host
from tests.e2e.process import Host, need
from tests.guests.tools import place_content, run
from tests.unit.cli.command import (
    GROWDISK,
    GUESTFS,
    NO_APPLIANCE,
    environment,
    fingerprint,
    growdisk,
)

__all__ = ["host"]


def qemu_size(image: Path, kind: str) -> int:
    return int(
        json.loads(run("qemu-img", "info", "--output=json", "-f", kind, image))["virtual-size"]
    )


@pytest.mark.parametrize("size", [MiB + 1, MiB - 1, MiB + 511, 700, 5 * MiB + 256])
@pytest.mark.parametrize("change", ["+1M", "+3k"])
def test_a_raw_file_grows_as_qemu_img_grows_it(tmp_path: Path, size: int, change: str) -> None:
    ours, theirs = tmp_path / "ours.raw", tmp_path / "theirs.raw"
    for path in (ours, theirs):
        path.write_bytes(b"\1" * size)
    run("qemu-img", "resize", "-q", "-f", "raw", theirs, change)
    answer = growdisk("image", "resize", "-f", "raw", ours, change)
    assert answer.code == 0, answer
    assert ours.read_bytes() == theirs.read_bytes()


def test_a_size_that_is_asked_for_is_rounded_up_and_said(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(bytes(1000))
    answer = growdisk("image", "resize", "-f", "raw", image, "2000b")
    assert (answer.code, image.stat().st_size) == (0, 2048), answer
    assert "rounded up to 2048" in answer.out + answer.err


@pytest.mark.parametrize("size", [MiB - 1, MiB + 1, 3 * MiB + 300])
def test_a_qcow2_header_is_rounded_down_by_every_verb(tmp_path: Path, size: int) -> None:
    image, raw = tmp_path / "disk.qcow2", tmp_path / "disk.raw"
    run("qemu-img", "create", "-q", "-f", "qcow2", image, str(4 * MiB))
    run("qemu-io", "-c", "write -P 7 0 4M", image)
    with image.open("r+b") as file:
        file.seek(24)
        file.write(size.to_bytes(8, "big"))
    expected = qemu_size(image, "qcow2")
    assert growdisk("image", "info", "--json", image).json()["virtual-size"] == expected
    records = growdisk("image", "map", "--json", image).json()
    assert sum(record["length"] for record in records) == expected
    assert growdisk("image", "convert", "-O", "raw", image, raw).code == 0
    assert raw.stat().st_size == expected
    assert growdisk("image", "resize", image, "+1M").code == 0
    assert qemu_size(image, "qcow2") == expected + MiB
    run("qemu-img", "check", "-q", image)
    run("qemu-io", "-r", "-c", f"read -P 0 {expected} 512", image)


@pytest.mark.parametrize(("odd", "kind"), [(1, "mbr"), (100, "gpt"), (511, "gpt")])
@pytest.mark.parametrize("snapshots", ["overlay", "none"])
def test_a_disk_grows_from_a_file_that_ends_within_a_sector(
    tmp_path: Path, host: Host, odd: int, kind: str, snapshots: str
) -> None:
    need("direct")
    image, label = tmp_path / "disk.raw", {"mbr": "dos", "gpt": "gpt"}[kind]
    with image.open("wb") as file:
        file.truncate(40 * MiB)
    run(
        "sfdisk",
        "-q",
        "--no-reread",
        image,
        stdin=f"label: {label}\nstart=2048, size={30 * MiB // 512}, type=L\n",
    )
    run("mke2fs", "-q", "-F", "-t", "ext4", "-E", f"offset={MiB}", image, "30m")
    with image.open("r+b") as file:
        file.truncate(40 * MiB + odd)
    plan = host.growdisk("plan", image, "+50M")
    assert plan.code == 0, plan
    assert any("end of a sector" in str(note) for note in plan.document["notes"])  # type: ignore[attr-defined]
    answer = host.growdisk("expand", image, "+50M", "--snapshots", snapshots)
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert image.stat().st_size == 90 * MiB + 512
    if kind == "gpt":
        assert "No problems found" in run("sgdisk", "-v", image)
    assert run("e2fsck", "-fn", f"{image}?offset={MiB}")


@pytest.mark.parametrize(("name", "kind"), [("new.raw", "raw"), ("new.qcow2", "qcow2")])
@pytest.mark.parametrize("size", [1234, 1, MiB, 3 * MiB + 1])
def test_a_new_image_is_as_large_as_that_of_qemu_img(
    tmp_path: Path, name: str, kind: str, size: int
) -> None:
    theirs = tmp_path / f"theirs-{name}"
    run("qemu-img", "create", "-q", "-f", kind, theirs, str(size))
    answer = growdisk("image", "create", tmp_path / name, f"{size}b")
    assert answer.code == 0, answer
    assert qemu_size(tmp_path / name, kind) == qemu_size(theirs, kind)
    assert ("rounded up" in answer.out + answer.err) == (size % 512 != 0)


def test_a_run_that_fails_gives_the_odd_file_back(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    with image.open("wb") as file:
        file.truncate(40 * MiB)
    run("sfdisk", "-q", "--no-reread", image, stdin="label: gpt\nstart=2048, size=40960, type=L\n")
    run("mke2fs", "-q", "-F", "-t", "ext4", "-E", f"offset={MiB}", image, "20m")
    with image.open("ab") as file:
        file.write(b"\1" * 77)
    before = fingerprint(image)[0]
    answer = growdisk("expand", image, "+50M", *GUESTFS, env=NO_APPLIANCE)
    assert answer.code == 4, answer
    assert fingerprint(image)[0] == before


def test_an_overlay_reads_an_odd_raw_file_below_it_to_its_end(tmp_path: Path) -> None:
    below, above, out = tmp_path / "below.raw", tmp_path / "above.qcow2", tmp_path / "out.raw"
    below.write_bytes(b"\5" * 1300)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", "raw", above)
    assert growdisk("image", "convert", "-O", "raw", above, out).code == 0
    assert out.read_bytes() == b"\5" * 1300 + bytes(236)


@pytest.mark.parametrize("size", [MiB + 1, 3 * MiB - 100, 700])
def test_a_raw_file_that_ends_within_a_sector_is_read_by_every_verb(
    tmp_path: Path, size: int
) -> None:
    odd, image, back = tmp_path / "odd.raw", tmp_path / "disk.qcow2", tmp_path / "back.raw"
    odd.write_bytes(b"\7" * size)
    assert growdisk("image", "convert", "-f", "raw", odd, image).code == 0
    run("qemu-img", "compare", "-q", "-f", "raw", odd, image)
    assert growdisk("image", "compare", "-f", "raw", odd, image).code == 0
    assert growdisk("image", "convert", image, back).code == 0
    assert back.read_bytes().rstrip(b"\0") == odd.read_bytes()


@pytest.mark.parametrize("more", [1, 511])
def test_what_a_gpt_has_in_a_last_sector_that_is_not_whole_is_kept(
    tmp_path: Path, more: int
) -> None:
    """The file becomes longer by what is written there, and stays so when the run has ended."""
    alone, image = tmp_path / "alone", tmp_path / "disk.raw"
    for path, size in ((alone, 24 * MiB), (image, 40 * MiB + more)):
        with path.open("wb") as file:
            file.truncate(size)
    run("mke2fs", "-q", "-F", "-t", "ext4", alone)
    run(
        "sfdisk",
        "-q",
        "--no-reread",
        image,
        stdin=f"label: gpt\nstart=2048, size={24 * MiB // 512}, type=L\n",
    )
    place_content(alone, image, MiB)
    answer = growdisk("--json", "expand", image)
    assert (answer.code, answer.json()["result"]) == (0, "changed"), answer
    assert image.stat().st_size == 40 * MiB + 512
    assert "No problems found" in run("sgdisk", "-v", image)
    assert "corrupt" not in run("sgdisk", "-v", image)


@pytest.mark.parametrize("verb", ["create", "resize"])
@pytest.mark.parametrize("size", [(1 << 63) - 1, (1 << 63) - 512])
def test_a_size_that_no_file_can_have_is_an_error_with_words(
    tmp_path: Path, verb: str, size: int
) -> None:
    if verb == "resize":
        (tmp_path / "disk.raw").write_bytes(bytes(1 << 20))
    answer = growdisk("image", verb, tmp_path / "disk.raw", f"{size}b")
    assert (answer.code, "too large" in answer.err) == (4 if verb == "resize" else 3, True), answer
    assert "smaller SIZE" in answer.err
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [1 << 20] * (verb == "resize")


@pytest.mark.parametrize("size", [(1 << 63) - 1, (1 << 63) - 512, (1 << 63) - (1 << 30)])
def test_a_file_is_a_disk_as_long_as_it_is_one_for_qemu_img(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    if not os.statvfs("/dev/shm").f_bavail:
        pytest.skip("no file of that size but on tmpfs")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        monkeypatch.chdir(folder)
        with Path("huge.raw").open("wb") as file:
            file.truncate(size)
        words = ["qemu-img", "info", "-f", "raw", "huge.raw"]
        judged = subprocess.run(words, capture_output=True)
        code = 3 if judged.returncode else 0
        assert code == (0 if size % (1 << 30) == 0 else 3), judged
        for line in (
            "image info huge.raw",
            "image map huge.raw",
            "image convert huge.raw flat.raw",
            "image copy huge.raw copy.raw",
            "image resize huge.raw +0",
            "image read huge.raw 7E 4k bytes",
            "show huge.raw",
        ):
            answer = growdisk(*line.split())
            assert (answer.code, "Traceback" in answer.err) == (code, False), answer
        made = {"bytes", "copy.raw", "flat.raw"} if code == 0 else set[str]()
        assert {path.name for path in Path().iterdir()} == {"huge.raw"} | made


def test_a_file_that_may_not_become_so_long_is_not_there(tmp_path: Path) -> None:
    words = (GROWDISK, "image", "create", "-o", "data_file=data", tmp_path / "disk.qcow2", "100M")
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 40960; exec "$0" "$@"', *words], capture_output=True, text=True,
        env=environment(),
        check=False,
    )  # fmt: skip
    assert (done.returncode, "ulimit" in done.stderr) == (3, True), done
    assert list(tmp_path.iterdir()) == []
