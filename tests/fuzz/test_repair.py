"""Repairing images that lie: whatever could be read before reads the same afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from growdisk.api.images.checking import check_image
from growdisk.errors import GrowdiskError
from growdisk.qcow2.image import Qcow2Image
from tests.fuzz.limited import COUNT, ORDER, SLOW
from tests.fuzz.mutants import Mutant, mutants
from tests.fuzz.seeds import RECIPES, Seed, make_seed
from tests.fuzz.verbs import MAX_GUEST

if TYPE_CHECKING:
    from growdisk.api.images.checking import Repair

_PIECE = 4096


@pytest.mark.parametrize("name", RECIPES)
def test_repair_never_makes_a_readable_image_less_readable(
    name: str, memory_directory: Path
) -> None:
    (maker := memory_directory / "maker").mkdir()
    (work := memory_directory / "work").mkdir()
    seed, compared = make_seed(name, maker), 0
    for file, content in seed.beside.items():
        (work / file).write_bytes(content)
    for mutant in mutants(seed, COUNT // SLOW.get(name, 1), ORDER + 1):
        compared += _compare(work / f"{name}.qcow2", seed, mutant)
    assert compared > 100


def _compare(path: Path, seed: Seed, mutant: Mutant) -> int:
    """How many pieces could be read before the repairs; all of them read the same after each."""
    mutant.write(path, seed)
    before = _pieces(path, seed.key)
    levels: tuple[Repair, ...] = ("leaks", "all")
    for level in levels:
        mutant.write(path, seed)
        try:
            check_image(path, level)
        except GrowdiskError:
            continue  # tests/fuzz/test_mutants.py sees to it that nothing was written
        after = _pieces(path, seed.key)
        lost = [place for place, piece in before.items() if after.get(place) != piece]
        assert not lost, (
            f"{mutant.name}: -r {level} changed what is at {lost[0]} (and {len(lost) - 1} more)"
        )
    return len(before)


def _pieces(path: Path, key: bytes | None) -> dict[tuple[str, int], bytes]:
    """All that can be read, of the disk and of its snapshots."""
    try:
        image = Qcow2Image.open(path, key=key)
    except GrowdiskError:
        return {}
    found: dict[tuple[str, int], bytes] = {}
    with image:
        found |= _of_disk("", image)
        for snapshot in image.snapshots():
            try:
                found |= _of_disk(snapshot.id, image.snapshot_view(snapshot.id, by_id=True))
            except GrowdiskError:
                continue
    return found


def _of_disk(name: str, disk: Qcow2Image) -> dict[tuple[str, int], bytes]:
    found = {}
    for place in range(0, min(disk.size, MAX_GUEST // 4), _PIECE):
        try:
            found[name, place] = disk.read(place, min(_PIECE, disk.size - place))
        except GrowdiskError:
            continue
    return found
