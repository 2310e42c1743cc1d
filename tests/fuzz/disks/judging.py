"""What foreign tools say of a disk before and after, and which bytes were nobody's to change."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.disks.kernel import Kernel
from tests.fuzz.disks.making import MOUNTABLE, Found

SECTOR = 512
_CHUNK = 4 << 20
_NO_CHECK_BEYOND, _NO_USE_BEYOND = 2 << 40, 32 << 30
_EXTENDED = ("5", "f", "85")
_CHECKS = {
    "ext": "e2fsck -fn {}", "xfs": "xfs_repair -n {}", "btrfs": "btrfs check --readonly {}",
    "ntfs": "ntfsfix -n {}",
    "f2fs": "fsck.f2fs --dry-run {}",
}  # fmt: skip
# Twice, so that what was freed is written to again.
_USE = """mkdir -p /tmp/u; mount -t {kind} {device} /tmp/u || exit 1; cd /tmp/u; dmesg -c >/dev/null
for r in 1 2; do mkdir -p used/$r; for i in $(seq 120); do
head -c 1000000 numbers /dev/zero >used/$r/$i 2>/dev/null || break; done; sync
for i in $(seq 1 2 120); do rm -f used/$r/$i; done; done; sync; cd /; umount /tmp/u || exit 1
! dmesg | grep -iE "error|corrupt|inconsistent|bug:|warning"
"""


@dataclass(frozen=True)
class Seen:
    """`parts`: number → sfdisk's entry; `names`: number → what blkid calls its content."""

    table: dict[str, Any]
    parts: dict[int, dict[str, Any]]
    names: dict[int, str]


def look(raw: Path, label: str) -> Seen:
    """The disk as sfdisk and blkid see it; `label` is the recipe's.

    sfdisk takes the boot sector of an NTFS without a table for one.
    """
    done = subprocess.run(["sfdisk", "--json", raw], capture_output=True, text=True, check=False)
    if done.returncode or not label:
        return Seen({}, {}, {0: _blkid(raw, 0, raw.stat().st_size)})
    table = json.loads(done.stdout)["partitiontable"]
    parts = {
        int(re.findall(r"\d+$", entry.pop("node"))[0]): entry
        for entry in table.pop("partitions", [])
    }
    names = {n: _blkid(raw, p["start"] * SECTOR, p["size"] * SECTOR) for n, p in parts.items()}
    table = {key: value for key, value in table.items() if key not in ("device", "lastlba")}
    return Seen(table, parts, names)


def _blkid(raw: Path, start: int, size: int) -> str:
    words = ["blkid", "-p", "-O", str(start), "-S", str(size), "-o", "export", raw]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    kept = ("TYPE=", "UUID=", "LABEL=", "UUID_SUB=", "USAGE=")
    return " ".join(sorted(line for line in said.splitlines() if line.startswith(kept)))


def table_faults(raw: Path, seen: Seen) -> Iterator[str]:
    if seen.table.get("label") == "gpt":
        said = subprocess.run(
            ["sgdisk", "-v", raw], capture_output=True, text=True, check=False
        ).stdout
        if "No problems found" not in said:
            yield f"sgdisk -v: {said.strip()[-300:]}"
    if seen.table:
        done = subprocess.run(
            ["sfdisk", "--verify", raw], capture_output=True, text=True, check=False
        )
        bad = [line for line in (done.stdout + done.stderr).splitlines() if _is_bad(line)]
        if bad:
            yield f"sfdisk --verify: {'; '.join(bad)}"


def _is_bad(line: str) -> bool:
    return bool(
        re.search(r"overlap|outside|beyond|invalid|corrupt|mismatch|fail", line, re.IGNORECASE)
    )


def changed_entries(
    before: Seen, after: Seen, may_grow: set[int], gone: set[int], moved: set[int]
) -> Iterator[str]:
    if before.table != after.table:
        yield f"the table itself changed: {before.table} -> {after.table}"
    if lost := set(before.parts) - set(after.parts) - gone:
        yield f"partitions {sorted(lost)} are gone, and nobody said so"
    if new := set(after.parts) - set(before.parts):
        yield f"partitions {sorted(new)} are new"
    for number in sorted(set(before.parts) & set(after.parts)):
        old, now = before.parts[number], after.parts[number]
        free = (
            {"start", "size"}
            if number in moved
            else {"size"}
            if number in may_grow or _holds(old)
            else set()
        )
        for key in (set(old) | set(now)) - free:
            if old.get(key) != now.get(key):
                yield f"partition {number}: {key} {old.get(key)} -> {now.get(key)}"
        if now["size"] < old["size"]:
            yield f"partition {number} became smaller: {old['size']} -> {now['size']}"
        if before.names[number] != after.names[number]:
            yield (
                f"blkid calls partition {number} {after.names[number]!r}, which was "
                f"{before.names[number]!r}"
            )


def _holds(entry: dict[str, Any]) -> bool:
    return entry["type"] in _EXTENDED


def free_to_change(
    before: Seen, after: Seen, may_grow: set[int], gone: set[int], moved: set[int], old_size: int
) -> list[tuple[int, int]]:
    """Byte ranges of the old disk that the run had a right to."""
    if not before.table:
        return [(0, old_size)]
    ranges = [(446, 510)] if before.table["label"] == "dos" else [(446, 510), (SECTOR, 34 * SECTOR)]
    if before.table["label"] == "gpt":
        ranges.append((old_size - old_size % SECTOR - 33 * SECTOR, old_size))
    for number, part in (*before.parts.items(), *after.parts.items()):
        start, end = part["start"] * SECTOR, (part["start"] + part["size"]) * SECTOR
        if _holds(part):
            ranges.append((start, start + SECTOR))
        elif number in may_grow | gone | moved:
            ranges.append((start, end))
    ranges += _boot_records(before)
    return ranges


def journal(seen: Seen, number: int) -> tuple[int, int]:
    """An external one: whoever mounts its file system, or checks it, writes in it."""
    part = seen.parts[number]
    return part["start"] * SECTOR, (part["start"] + part["size"]) * SECTOR


def _boot_records(seen: Seen) -> Iterator[tuple[int, int]]:
    """Of the logical partitions: each in the gap before its own."""
    if seen.table["label"] == "dos":
        ends = sorted(
            (p["start"] + (0 if _holds(p) else p["size"])) * SECTOR for p in seen.parts.values()
        )
        for number, part in seen.parts.items():
            if number > 4:
                start = part["start"] * SECTOR
                yield max([end for end in ends if end < start], default=0), start


def other_bytes(before: Path, after: Path, free: list[tuple[int, int]], size: int) -> Iterator[str]:
    at = 0
    for start, end in [*sorted(free), (size, size)]:
        if start > at and (place := _difference(before, after, at, start)) is not None:
            yield f"byte {place} changed, which is in nobody's range ({at}-{start})"
        at = max(at, end)


def _difference(one: Path, other: Path, start: int, end: int) -> int | None:
    with one.open("rb") as a, other.open("rb") as b:
        places = sorted({*_data(a.fileno(), start, end), *_data(b.fileno(), start, end)})
        for place in places:
            a.seek(place)
            b.seek(place)
            length = min(_CHUNK, end - place)
            left, right = a.read(length), b.read(length)
            if left != right:
                return place + next(
                    (i for i, (x, y) in enumerate(zip(left, right, strict=False)) if x != y), 0
                )
    return None


def _data(fd: int, start: int, end: int) -> Iterator[int]:
    """The pieces of the range that a file has any data in."""
    at = start
    while at < end:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            return
        if data >= end:
            return
        hole = min(os.lseek(fd, data, os.SEEK_HOLE), end)
        for piece in range((data - start) // _CHUNK, -(-(hole - start) // _CHUNK)):
            yield start + piece * _CHUNK
        at = hole


def content_faults(
    kernel: Kernel,
    before: list[Found],
    now: list[Found],
    gone: set[int],
    grown: dict[str, int],
    touched: set[int],
) -> Iterator[str]:
    """What was mounted mounts and has its files; every checker passes what was touched.

    `grown`: device → bytes.
    """
    seen = {found.device: found for found in now}
    for found in before:
        if found.parent in gone:
            continue
        after = seen.get(found.device)
        if after is None or after.files != found.files:
            seen_after = after.files if after else None
            yield (
                f"{found.kind} on {found.device}: files {found.files!r} before, {seen_after!r} "
                "after"
            )
        check = _CHECKS.get(found.kind) if found.parent in touched else None
        if check and grown.get(found.device, 0) <= _NO_CHECK_BEYOND:
            yield from _checked(kernel, found, check)
            if found.files and grown.get(found.device, 0) <= _NO_USE_BEYOND:
                yield from _used(kernel, found, check)


def _used(kernel: Kernel, found: Found, check: str) -> Iterator[str]:
    """It is written to until it is full, or has 240 MB more, and is sound afterwards too."""
    status, output = kernel.run(_USE.format(kind=MOUNTABLE[found.kind], device=found.device))
    if status:
        yield f"{found.kind} on {found.device} cannot be used: {output.strip()[-400:]}"
    for fault in _checked(kernel, found, check):
        yield f"after it was used: {fault}"


def _checked(kernel: Kernel, found: Found, check: str) -> Iterator[str]:
    status, output = kernel.run(check.format(found.device))
    bad = re.search(r"\[Fail\]|ASSERT", output) if found.kind == "f2fs" else None
    if (status or bad) and not _is_no_judge(found.kind, output):
        yield f"{check.format(found.device)} ended with {status}: {output.strip()[-400:]}"


def _is_no_judge(kind: str, output: str) -> bool:
    """What a checker does not do is not a verdict."""
    return kind == "ext" and ("xternal journal" in output or "unsupported feature" in output)
