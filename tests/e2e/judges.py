"""What foreign tools say of a disk before and after: qemu-img, sfdisk, e2fsck, dumpe2fs, blkid."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from growdisk.units import MiB
from tests.guests.manifest import Manifest, as_raw, differences, file_manifest
from tests.guests.tools import run

SECTOR = 512
_TABLE = slice(446, 510)
REPAIRED = ("/etc/fstab", "/etc/initramfs-tools/conf.d/resume", "/boot/initrd.img-6.1.0-0-tiny")


@dataclass(frozen=True)
class Before:
    """A disk as it was. `copy` is a whole copy of its file."""

    copy: Path
    image_format: str
    files: Manifest
    start_sectors: bytes

    @classmethod
    def of(cls, image: Path, image_format: str = "qcow2", partition: int = 1) -> Before:
        copy = image.with_name(f"before-{image.name}")
        run("cp", "--sparse=always", image, copy)
        return cls(
            copy,
            image_format,
            file_manifest(image, image_format, partition),
            first_bytes(image, image_format, MiB),
        )


def image_format(image: Path) -> str:
    return "raw" if image.suffix == ".raw" else "qcow2"


def virtual_size(image: Path) -> int:
    info = json.loads(run("qemu-img", "info", "--output=json", "-f", image_format(image), image))
    return int(info["virtual-size"])


def first_bytes(image: Path, kind: str, length: int) -> bytes:
    with as_raw(image, kind) as raw, raw.open("rb") as file:
        return file.read(length)


def sfdisk(raw: Path) -> list[dict[str, object]]:
    """The partitions, in sectors."""
    table = json.loads(run("sfdisk", "--json", raw))["partitiontable"]
    return list(table["partitions"])


def assert_unchanged(image: Path, before: Before) -> None:
    """The guest sees the same bytes; the image is sound, and has no snapshot of ours."""
    assert virtual_size(image) == virtual_size(before.copy)
    run(
        "qemu-img", "compare", "-f", before.image_format, "-F", before.image_format, image,
        before.copy,
    )  # fmt: skip
    assert_sound(image)
    with (
        as_raw(image, before.image_format) as now,
        as_raw(before.copy, before.image_format) as then,
    ):
        assert run("sfdisk", "-d", now).replace(str(now), "") == run("sfdisk", "-d", then).replace(
            str(then), ""
        )


def assert_sound(image: Path) -> None:
    if image_format(image) == "qcow2":
        run("qemu-img", "check", "-q", image)
        assert "growdisk" not in run("qemu-img", "snapshot", "-l", image)
    left = [path.name for path in image.with_name(image.name + ".growdisk").glob("*")]
    assert set(left) <= {"plan.json", "journal.jsonl", "part-of.json"}, left


def assert_grown(
    image: Path,
    before: Before,
    *,
    partition: int = 1,
    up_to: int | None = None,
    aside: tuple[str, ...] = (),
) -> None:
    """`partition` reaches `up_to` (the disk's end), its file system fills it, files are kept."""
    assert_sound(image)
    end = up_to or virtual_size(image)
    with as_raw(image, before.image_format) as raw:
        part = next(p for p in sfdisk(raw) if re.search(rf"\D{partition}$", str(p["node"])))
        start, size = (int(str(part[key])) * SECTOR for key in ("start", "size"))
        assert end - 2 * MiB < start + size <= end
        assert part["bootable"] is True and part["type"] == "83"
        assert_filesystem(raw, start, size)
        _assert_boot_area_kept(raw, before)
    files = file_manifest(image, before.image_format, partition)
    assert differences(before.files, files, aside=(*REPAIRED, *aside)) == []


def assert_filesystem(raw: Path, start: int, size: int) -> None:
    """e2fsck finds nothing, and the ext file system is as large as its partition allows."""
    where = f"{raw}?offset={start}"
    check = subprocess.run(["/sbin/e2fsck", "-f", "-n", where], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout
    said = run("dumpe2fs", "-h", where)
    blocks, block = (
        int(re.findall(rf"{name}:\s+(\d+)", said)[0]) for name in ("Block count", "Block size")
    )
    assert blocks * block <= size
    assert size - blocks * block < 2048 * block, (
        "no more is left out than a last group too small to be one"
    )


def _assert_boot_area_kept(raw: Path, before: Before) -> None:
    """Boot code, signature and core.img's gap are the old bytes; only table entries differ."""
    with raw.open("rb") as file:
        now = file.read(MiB)
    assert (
        now[: _TABLE.start] + now[_TABLE.stop :]
        == before.start_sectors[: _TABLE.start] + before.start_sectors[_TABLE.stop :]
    )
