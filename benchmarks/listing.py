"""A list of a thousand images, beside virt-df on ten: seconds and memory of the call."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.guests import prepare_peers
from benchmarks.measure import GROWDISK, figure, seconds, take_small
from tests.guests.small import SmallDisk, make_disk

IMAGES, BESIDE = 1000, 10


def compare(repeats: int) -> dict[str, Any]:
    prepare_peers()
    with tempfile.TemporaryDirectory(prefix="growdisk-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        first = make_disk(folder / "0000.qcow2", SmallDisk())
        images = [first, *(folder / f"{number:04}.qcow2" for number in range(1, IMAGES))]
        for image in images[1:]:
            subprocess.run(["cp", "--reflink=auto", "--sparse=always", first, image], check=True)
        ours = [
            take_small([GROWDISK, "list", str(folder), "--json"]) for _ in range(min(repeats, 3))
        ]
        beside = [
            take_small([GROWDISK, "list", *map(str, images[:BESIDE]), "--json"])
            for _ in range(min(repeats, 3))
        ]
        words = [word for image in images[:BESIDE] for word in ("-a", str(image))]
        theirs = [take_small(["virt-df", *words])]  # once: an appliance for each image
    return {
        "calls": {
            f"growdisk list, {IMAGES} images": {"images": IMAGES, **figure(ours)},
            f"growdisk list, {BESIDE} images": {"images": BESIDE, **figure(beside)},
            f"virt-df, {BESIDE} images": {"images": BESIDE, **figure(theirs)},
        }
    }


def rows(result: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "| how full are many disks (small qcow2 images) | whole call | per image | memory of "
        "the largest process |"
    )
    yield "|---|---|---|---|"
    for name, fig in result["calls"].items():
        yield (
            f"| {name} | {seconds(fig)} | {1000 * fig['wall'] / fig['images']:.0f} ms | "
            f"{_memory(fig)} |"
        )


def _memory(fig: Mapping[str, Any]) -> str:
    return f"{fig['own_peak_kib'] / 1024:.0f} MiB"
