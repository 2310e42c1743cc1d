"""Runs of guest bytes: each entry is read once or twice, whatever their lengths; host holes."""

from __future__ import annotations

import itertools
import random
import struct
import subprocess
from array import array
from pathlib import Path

import pytest

from growdisk.block.device import ExtentKind
from growdisk.qcow2 import mapping
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.tables import progression

CLUSTER = 4096


def mapped(path: Path, order: list[int]) -> None:
    """Make 8 MiB whose guest clusters are in this order among the preallocated ones."""
    options = f"preallocation=metadata,cluster_size={CLUSTER}"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, "8M"], check=True
    )
    with path.open("r+b") as file:
        l1_size, l1_offset = struct.unpack_from(">IQ", file.read(48), 36)
        file.seek(l1_offset)
        tables = [
            entry & 0x00FFFFFFFFFFFE00
            for entry in struct.unpack(f">{l1_size}Q", file.read(8 * l1_size))
        ]
        entries: list[bytes] = []
        for offset in tables:
            file.seek(offset)
            table = file.read(CLUSTER)
            entries += (table[place : place + 8] for place in range(0, CLUSTER, 8))
        for index, offset in enumerate(tables):
            file.seek(offset)
            file.write(
                b"".join(entries[order[place]] for place in range(512 * index, 512 * (index + 1)))
            )


@pytest.mark.parametrize("length", [1, 2, 11, 12, 13, 60, 61, 500, 512, 2048])
def test_a_range_costs_what_it_is_long_whatever_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
):
    pieces = [list(range(start, min(start + length, 2048))) for start in range(0, 2048, length)]
    random.Random(length).shuffle(pieces)
    mapped(tmp_path / "image.qcow2", [cluster for piece in pieces for cluster in piece])
    compared: list[int] = []

    def watched(first: int, count: int, step: int) -> array[int]:
        compared.append(count)
        return progression(first, count, step)

    monkeypatch.setattr(mapping, "progression", watched)
    with Qcow2Image.open(tmp_path / "image.qcow2") as image:
        runs = list(image.runs(0, image.size))
    assert sum(compared) <= 5 * 2048
    clusters = [
        run.host // CLUSTER + place
        for run in runs
        for place in range((run.end - run.start) // CLUSTER)
    ]
    assert len(set(clusters)) == len(clusters) == 2048
    assert [run.start for run in runs[1:]] == [run.end for run in runs[:-1]]
    assert all(  # no two neighbours are one run that was cut, except at a table's border
        one.host + one.end - one.start != other.host or other.start % (512 * CLUSTER) == 0
        for one, other in itertools.pairwise(runs)
    )


def test_holes_of_preallocated_clusters_are_zeros_and_written_ones_data(tmp_path: Path):
    path = tmp_path / "image.qcow2"
    order = list(range(2048))
    random.Random(1).shuffle(order)
    mapped(path, order)
    subprocess.run(
        ["qemu-io", "-c", "write -P 7 1M 64k", "-c", "write -P 7 5M 4k", path], check=True
    )
    with Qcow2Image.open(path) as image:
        data = [
            (extent.start, extent.end)
            for extent in image.extents(0, image.size)
            if extent.kind is ExtentKind.DATA
        ]
        assert data == [(1 << 20, (1 << 20) + (64 << 10)), (5 << 20, (5 << 20) + 4096)]
        zeros = (
            extent for extent in image.extents(0, image.size) if extent.kind is ExtentKind.ZERO
        )
        assert not any(any(image.read(extent.start, extent.length)) for extent in zeros)
