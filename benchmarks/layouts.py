"""Layout by layout: every backend, and virt-resize on the same image where it can do it at all.

Small disks with real file systems and no system in them, so what is measured is the layout's own
cost. virt-resize takes a minute or more each time, so it is measured less often than ours; what it
could not do stands in its place, and growdisk show judges the rest: does the file system fill the
new disk?
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.guests import forget, fresh_copy, prepare_peers
from benchmarks.measure import (
    GROWDISK,
    Growdisk,
    Sample,
    figure,
    say,
    seconds,
    take_growdisk,
    times,
)
from growdisk.units import GiB, MiB
from tests.guests.layered import KEYS, layered_guests
from tests.guests.layouts import Layout
from tests.guests.small import SmallDisk, make_disk

ROWS = "layouts"
GROWTH = 2 * GiB
_SLOW_REPEATS = 1
_OURS = ("direct", "uml", "guestfs")  # the first that can do it is what auto takes


@dataclass(frozen=True)
class Case:
    """`disk` is made here, or the name of a layered guest.

    `peer`: virt-resize's options for the same wish.
    """

    name: str
    disk: SmallDisk | str
    peer: tuple[str, ...]
    ours: tuple[str, ...] = ()


_DROP = ("--delete", "/dev/sda2", "--expand", "/dev/sda1")
CASES = (
    Case("MBR, swap in an extended partition after root", SmallDisk(), _DROP),
    Case("MBR, primary swap after root", SmallDisk(Layout.SWAP_BEHIND), _DROP),
    Case("MBR, swap first, root last", SmallDisk(Layout.SWAP_FIRST), ("--expand", "/dev/sda2")),
    Case(
        "GPT, cloud image: 14, 15, root 1 last",
        SmallDisk(Layout.GPT_CLOUD),
        ("--expand", "/dev/sda1"),
    ),
    Case("GPT, swap after root", SmallDisk(Layout.GPT_SWAP_BEHIND), _DROP),
    Case("ext4 on the whole disk, no table", SmallDisk(Layout.NO_TABLE), ("--expand", "/dev/sda")),
    Case(
        "XFS root", SmallDisk(Layout.PLAIN, 512 * MiB, filesystem="xfs"), ("--expand", "/dev/sda1")
    ),
    Case(
        "btrfs root",
        SmallDisk(Layout.PLAIN, 512 * MiB, filesystem="btrfs"),
        ("--expand", "/dev/sda1"),
    ),
    Case(
        "Debian's LVM: PV in a logical partition",
        "lvm",
        ("--expand", "/dev/sda2", "--LV-expand", "/dev/guest-vg/root"),
        ("--lv", "guest-vg/root"),
    ),
    Case("LUKS1 with ext4", "luks1", ("--expand", "/dev/sda1")),
    Case("LUKS2 with LVM with ext4", "luks2", ("--expand", "/dev/sda2"), ("--lv", "crypt/root")),
)


def names() -> list[str]:
    return [case.name for case in CASES]


def compare(repeats: int, only: str = "") -> dict[str, Any]:
    prepare_peers()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="growdisk-bench-", dir="/var/tmp") as place:
        for case in (case for case in CASES if only in case.name):
            found[case.name] = _measure(case, Path(place), repeats)
    return {"growth": "+2G", "layouts": found}


def rows(result: Mapping[str, Any]) -> Iterator[str]:
    ours, peer = (_most(result, tools) for tools in (_OURS, ("virt-resize",)))
    taken = (
        f"direct and uml {ours} times, guestfs and virt-resize {peer}" if ours > 1 else "once each"
    )
    first = f"layout (small disks, {result['growth']}; {taken})"
    yield f"| {first} | {' | '.join(_OURS)} | virt-resize, to a copy | against ours |"
    yield "|---" * (len(_OURS) + 3) + "|"
    for name, tools in result["layouts"].items():
        figures = [tools.get(tool, {"cannot": "–"}) for tool in (*_OURS, "virt-resize")]
        best, other = next(fig for fig in figures if "wall" in fig), figures[-1]
        cells = [fig["cannot"] if "cannot" in fig else seconds(fig) for fig in figures]
        cells[-1] += f", {other['fault']}" if other.get("fault") else ""
        ratio = "–" if "cannot" in other else times(other["wall"] / best["wall"])
        yield f"| {name} | {' | '.join(cells)} | {ratio} |"


def _most(result: Mapping[str, Any], tools: Sequence[str]) -> int:
    """How often one of `tools` was measured."""
    return max(
        row.get(tool, {}).get("count", 0) for row in result["layouts"].values() for tool in tools
    )


def _measure(case: Case, folder: Path, repeats: int) -> dict[str, Any]:
    base = _base(case, folder)
    guest = folder / "guest.img"
    options = [*case.ours, *_key_of(case, folder)]
    argv = {backend: ["expand", guest, "+2G", "--backend", backend, *options] for backend in _OURS}
    fresh_copy(base, guest)
    reasons = {backend: _refused(["plan", *words[1:]]) for backend, words in argv.items()}
    found: dict[str, Any] = {
        backend: {"cannot": f"– ({reason})"} for backend, reason in reasons.items() if reason
    }
    ours: dict[str, list[Sample]] = {backend: [] for backend in argv if backend not in found}
    peer: list[dict[str, Any]] = []
    for number in range(repeats):
        for backend, samples in ours.items():
            if backend == "guestfs" and number >= _SLOW_REPEATS:
                continue
            fresh_copy(base, guest)
            samples.append(_changed(take_growdisk(argv[backend])))
            forget(guest)
        if number < _SLOW_REPEATS and not (peer and "cannot" in peer[0]):
            peer.append(_virt_resize(case, base, folder))
    for path in (base, guest):
        forget(path)
    return (
        found
        | {backend: figure(samples) for backend, samples in ours.items()}
        | {"virt-resize": _together(peer)}
    )


def _together(peer: list[dict[str, Any]]) -> dict[str, Any]:
    """All of its runs as one figure; what it cannot do it was asked for once."""
    if "cannot" in peer[0]:
        return peer[0]
    return {**figure([Sample(run["wall"]) for run in peer]), "fault": peer[0]["fault"]}


def _base(case: Case, folder: Path) -> Path:
    if isinstance(case.disk, SmallDisk):
        return make_disk(folder / "base.img", case.disk)
    base = folder / "base.img"
    raw = layered_guests() / f"{case.disk}.raw"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, base], check=True)
    return base


def _key_of(case: Case, folder: Path) -> list[str]:
    if case.disk not in KEYS:
        return []
    key = folder / "key"
    key.write_bytes(KEYS[str(case.disk)])
    return ["--key-file", str(key)]


def _changed(sample: Growdisk) -> Growdisk:
    assert sample.answer["result"] == "changed", sample.answer
    return sample


def _refused(argv: list[Any]) -> str:
    done = subprocess.run([GROWDISK, "--json", *map(str, argv)], capture_output=True, text=True)
    return "" if done.returncode == 0 else str(json.loads(done.stdout)["error"]["why"])


def _virt_resize(case: Case, base: Path, folder: Path) -> dict[str, Any]:
    """Its time, or why it could not."""
    new = folder / "new.img"
    size = json.loads(
        subprocess.run(["qemu-img", "info", "--output=json", base], capture_output=True).stdout
    )
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", new, str(size["virtual-size"] + GROWTH)],
        check=True,
    )
    argv = [
        "virt-resize",
        "--format",
        "qcow2",
        "--output-format",
        "qcow2",
        *case.peer,
        str(base),
        str(new),
    ]
    say(" ".join(argv))
    started = _now()
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    taken = Sample(_now() - started)
    grown = (
        done.returncode == 0
        and _largest_file_system(new) - _largest_file_system(base) > GROWTH * 0.9
    )
    other_numbers = done.returncode == 0 and _renumbered(base, new)
    new.unlink()
    if grown:
        return {"wall": taken.wall, "fault": "partitions renumbered" if other_numbers else ""}
    if done.returncode == 0:
        return {
            "cannot": f"grows the partition alone ({taken.wall:.0f} s)",
            "wall_of_that": taken.wall,
        }
    lines = [
        line for line in done.stderr.splitlines() if "error" in line
    ] or done.stderr.splitlines()[-1:]
    said = re.sub(r"^virt-resize: error: ", "", lines[0] if lines else "")
    return {"cannot": f"cannot: “{said[:90]}”"}


def _show(image: Path) -> dict[str, Any]:
    done = subprocess.run(
        [GROWDISK, "--json", "show", image], check=True, capture_output=True, text=True
    )
    layout: dict[str, Any] = json.loads(done.stdout)
    return layout


def _renumbered(base: Path, new: Path) -> bool:
    """Whether what has the same UUID now stands under another number."""
    old, now = (
        {
            part["content"]["uuid"]: part["number"]
            for part in _show(image)["partitions"]
            if part["content"]
        }
        for image in (base, new)
    )
    return any(uuid in now and now[uuid] != number for uuid, number in old.items())


def _largest_file_system(image: Path) -> int:
    layout = _show(image)
    contents = [part["content"] or {} for part in layout["partitions"]] + [
        volume.get("content") or {} for volume in layout.get("volumes", [])
    ]
    kinds = ("ext4", "xfs", "btrfs")
    return max((int(c.get("size") or 0) for c in contents if c.get("kind") in kinds), default=0)


def _now() -> float:
    import time

    return time.monotonic()
