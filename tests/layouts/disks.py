"""Disks of many layouts with real content in every partition, as foreign tools see them."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from growdisk.units import ByteRange, MiB
from tests.guests.content import odd_files, write_tar
from tests.guests.ext2fs import open_ext
from tests.guests.ext4 import make_ext4
from tests.guests.manifest import Manifest, _facts, as_raw
from tests.guests.swap import make_swap
from tests.guests.tools import run

SECTOR = 512


@dataclass(frozen=True)
class Layout:
    """`script` is sfdisk's, in sectors; `holds` says what each partition holds.

    It maps its number to ext4, small-ext4, swap, noise or ntfs.
    """

    script: str
    size: int
    holds: Mapping[int, str] = field(default_factory=dict)
    image_format: str = "qcow2"
    boot_code: bool = True


@dataclass(frozen=True)
class Seen:
    """A disk as foreign tools see it; `parts` are sfdisk's entries by number, without node."""

    label: str
    id: str
    size: int
    first_lba: int
    last_lba: int
    parts: Mapping[int, Mapping[str, Any]]
    digests: Mapping[int, str]
    files: Mapping[int, Manifest]
    head: bytes


def make(path: Path, layout: Layout) -> Path:
    raw = path if layout.image_format == "raw" else path.with_suffix(".being-made")
    with raw.open("wb") as file:
        file.truncate(layout.size)
        if layout.boot_code:
            file.write(b"\xeb\x63\x90" + random.Random("boot code").randbytes(437))
    run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", raw, stdin=layout.script)
    for number, part in _parts(raw).items():
        place = ByteRange(part["start"] * SECTOR, (part["start"] + part["size"]) * SECTOR)
        _fill(raw, place, number, layout.holds.get(number, ""))
    if raw != path:
        run("qemu-img", "convert", "-f", "raw", "-O", layout.image_format, raw, path)
        raw.unlink()
    return path


def uuid_of(number: int) -> str:
    return f"5e1f0c1d-0000-4000-8000-0000000000{number:02x}"


def _fill(raw: Path, place: ByteRange, number: int, kind: str) -> None:
    match kind:
        case "ext4":
            tar = write_tar(raw.with_suffix(".tar"), odd_files())
            make_ext4(raw, place, [tar], uuid=uuid_of(number))
            tar.unlink()
        case "small-ext4":
            make_ext4(raw, place, [], uuid=uuid_of(number), label=f"part{number}")
        case "swap":
            make_swap(raw, place, uuid=uuid_of(number), label="swäp")
        case "ntfs":
            _make_ntfs(raw, place)
        case "noise":
            noise = random.Random(number).randbytes(place.length // 3)
            with raw.open("r+b") as file:  # with a hole behind it, and noise again at the very end
                file.seek(place.start)
                file.write(noise)
                file.seek(place.end - 5 * SECTOR)
                file.write(noise[: 5 * SECTOR])


def _make_ntfs(raw: Path, place: ByteRange) -> None:
    """It says, as Windows has it, at which sector of the disk it starts."""
    alone = raw.with_suffix(".ntfs")
    with alone.open("wb") as file:
        file.truncate(place.length)
    run(
        "mkntfs", "-q", "-F", "-f", "-p", str(place.start // SECTOR), "-H", "255", "-S", "63", alone
    )
    with raw.open("r+b") as file:
        file.seek(place.start)
        file.write(alone.read_bytes())
    alone.unlink()


def look(image: Path, image_format: str) -> Seen:
    with as_raw(image, image_format) as raw:
        table = json.loads(run("sfdisk", "--json", raw))["partitiontable"]
        parts = _parts(raw)
        places = {
            n: ByteRange(p["start"] * SECTOR, (p["start"] + p["size"]) * SECTOR)
            for n, p in parts.items()
        }
        kinds = {n: _kind(raw, place) for n, place in places.items()}
        if table["label"] == "gpt":
            assert "No problems found" in run("sgdisk", "-v", raw)
        with raw.open("rb") as file:
            head = file.read(MiB)
        return Seen(
            table["label"],
            table["id"],
            raw.stat().st_size,
            table.get("firstlba", 0),
            table.get("lastlba", 0),
            parts,
            {n: _digest(raw, place, ntfs=kinds[n] == "ntfs") for n, place in places.items()},
            {n: files_at(raw, places[n]) for n, kind in kinds.items() if kind == "ext4"},
            head,
        )


def _parts(raw: Path) -> dict[int, dict[str, Any]]:
    entries = json.loads(run("sfdisk", "--json", raw))["partitiontable"].get("partitions", [])
    found = {}
    for entry in entries:
        match = re.fullmatch(re.escape(str(raw)) + r"p?(\d+)", entry.pop("node"))
        assert match is not None, entry
        found[int(match[1])] = entry
    return found


def _kind(raw: Path, place: ByteRange) -> str:
    command = [
        "blkid", "-p", "-O", str(place.start), "-S", str(place.length), "-o", "value",
        "-s", "TYPE", raw,
    ]  # fmt: skip
    try:
        return run(*command).strip()
    except AssertionError:
        return ""


def files_at(raw: Path, place: ByteRange) -> Manifest:
    with open_ext(raw, place.start) as filesystem:
        return dict(_facts(filesystem))


def _digest(raw: Path, place: ByteRange, *, ntfs: bool) -> str:
    """The digest of a partition; of NTFS without its start sector, which must be right.

    NTFS names it at its beginning and at its end.
    """
    digest = hashlib.sha256()
    if ntfs:
        volume = bytearray(raw.read_bytes()[place.start : place.end])
        for at in (28, place.length - SECTOR + 28):
            assert int.from_bytes(volume[at : at + 4], "little") == place.start // SECTOR
            volume[at : at + 4] = bytes(4)
        return hashlib.sha256(volume).hexdigest()
    with raw.open("rb") as file:
        file.seek(place.start)
        left = place.length
        while left:
            data = file.read(min(left, 4 * MiB))
            digest.update(data)
            left -= len(data)
    return digest.hexdigest()
