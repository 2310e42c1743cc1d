"""A fixed, quick share of `make fuzz-disks`, and the disks that once showed a fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.process import need
from tests.fuzz.disks.recipe import recipe
from tests.fuzz.disks.trial import attempt

QUICK = (3012, 3041)  # a crash; a crash and an odd number
REST = (3028, 912000005)  # LUKS; a huge one
ONCE_AT_FAULT = (
    3007,  # bigalloc grows by whole clusters
    770003,  # the journal on another partition is written to by whoever opens the file system
    650915847,  # a container in a volume is opened after the volume has grown
)


@pytest.mark.parametrize(
    "seed", [*QUICK, *ONCE_AT_FAULT, *(pytest.param(seed, marks=pytest.mark.slow) for seed in REST)]
)
def test_a_random_disk_becomes_what_was_planned(tmp_path: Path, seed: int) -> None:
    need("uml")
    need("direct")
    outcome = attempt(seed, tmp_path)
    assert not outcome.faults, outcome
    assert outcome.kind == "grown", outcome


def test_the_same_seed_makes_the_same_recipe_and_another_one_another() -> None:
    assert recipe(7) == recipe(7)
    assert len({str(recipe(seed)) for seed in range(100)}) == 100


def test_the_recipes_have_all_that_there_is() -> None:
    text = " ".join(str(recipe(seed)) for seed in range(600))
    kinds = (
        "ext", "xfs", "btrfs", "ntfs", "f2fs", "fat", "swap", "lvm", "luks", "jbd", "noise",
        "nothing",
    )  # fmt: skip
    words = (
        "orphan_file", "contiguous", "-ky", "FOREIGN", "vgexport", "SNAPSHOT", "reencrypt",
        "logical=True", "--move",
    )  # fmt: skip
    assert not [
        word for word in (*(f"kind='{kind}'" for kind in kinds), *words) if word not in text
    ]
