"""One expand by 10 GiB of ever larger disks, 10 % and 90 % full: must take the same time.

By what auto takes, and by a kernel whatever the size: auto is quicker where the disk is small. GPT,
ext4 root last, qcow2. The files are allocated, not written (nobody here has 7 TiB to spare); at 90
% all clusters of the image are mapped as well, as a disk that was once full has them, up to 1 TiB.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.guests import forget, fresh_copy
from benchmarks.measure import Growdisk, figure, in_turn, seconds, take_growdisk, times
from growdisk.units import GiB, MiB, TiB
from tests.guests.tools import run

SIZES = {"3 GiB": 3 * GiB, "100 GiB": 100 * GiB, "1 TiB": TiB, "8 TiB": 8 * TiB}
FILLS = {"10 %": 0.1, "90 %": 0.9}
BACKENDS = {"auto": "what auto takes", "uml": "--backend uml"}
_MAPPED_UP_TO = TiB
_BLOCK = 4096


def compare(repeats: int, sizes: Mapping[str, int] = SIZES) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="growdisk-bench-", dir="/var/tmp") as place:
        folder = Path(place)
        bases = {
            f"{size}, {fill}": make(
                folder / f"{size}-{fill}.qcow2".replace(" ", ""), sizes[size], FILLS[fill]
            )
            for size in sizes
            for fill in FILLS
        }
        contenders = {
            f"{name}, {backend}": lambda base=base, backend=backend: _expand(base, backend)
            for name, base in bases.items()
            for backend in BACKENDS
        }
        samples = in_turn(contenders, dict.fromkeys(contenders, repeats))
    found = {
        name: {"backend": taken[0].answer["backend"], **figure(taken)}
        for name, taken in samples.items()
    }
    return {"growth": "+10G", "disks": found}


def rows(result: Mapping[str, Any]) -> Iterator[str]:
    disks = result["disks"]
    sizes = list(dict.fromkeys(name.split(", ")[0] for name in disks))
    columns = [(fill, backend) for backend in BACKENDS for fill in FILLS]
    yield (
        "| expand by 10 GiB of | "
        + " | ".join(f"{fill} full, {BACKENDS[by]}" for fill, by in columns)
        + " |"
    )
    yield "|---|" + "---|" * len(columns)
    for size in sizes:
        cells = []
        for fill, backend in columns:
            cell, first = (
                disks[f"{size}, {fill}, {backend}"],
                disks[f"{sizes[0]}, 10 %, {backend}"]["wall"],
            )
            by = f"{cell['backend']} " if backend == "auto" else ""
            cells.append(f"{by}{seconds(cell)}, {times(cell['wall'] / first)}")
        yield f"| {size} | {' | '.join(cells)} |"


def make(path: Path, size: int, fill: float) -> Path:
    raw = path.with_suffix(".raw")
    with raw.open("wb") as file:
        file.truncate(size)
    run(
        "sfdisk",
        "-q",
        "--no-reread",
        "--no-tell-kernel",
        raw,
        stdin=f"label: gpt\n1: start=2048, size={size // 512 - 4096}\n",
    )
    blocks = (size - 2 * MiB) // _BLOCK
    lazy = f"offset={MiB},lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    run(
        "mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-m",
        "0",
        "-E",
        lazy,
        raw,
        f"{blocks * _BLOCK // 1024}k",
    )
    # A file has room for 16 TiB in these blocks, but debugfs counts what it allocates in 32 bits:
    # several files.
    left, commands = int(blocks * fill) - blocks // 50, []
    while left > 0:
        name, count = f"f{len(commands)}", min(left, 25 * GiB // _BLOCK)
        commands.append(f"write /dev/null {name}\nfallocate {name} 0 {count - 1}\n")
        left -= count
    run("debugfs", "-w", "-f", "-", f"{raw}?offset={MiB}", stdin="".join(commands))
    mapped = fill > 0.5 and size <= _MAPPED_UP_TO
    options = ["-o", "preallocation=metadata"] if mapped else []
    run("qemu-img", "create", "-q", "-f", "qcow2", *options, path, str(size))
    run("qemu-img", "convert", "-n", "--target-is-zero", "-f", "raw", "-O", "qcow2", raw, path)
    raw.unlink()
    return path


def _expand(base: Path, backend: str) -> Growdisk:
    guest = fresh_copy(base, base.with_name("guest.qcow2"))
    sample = take_growdisk(["expand", guest, "+10G", "--backend", backend])
    assert sample.answer["result"] == "changed", sample.answer
    subprocess.run(["qemu-img", "check", "-q", guest], check=True)
    forget(guest)
    return sample
