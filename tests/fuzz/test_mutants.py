"""Thousands of images that lie, and everything that can be done to them.

`MUTANTS=2000 MUTANTS_FROM=7 pytest tests/fuzz` looks closer: 2000 of each seed, in the order number
7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.fuzz.limited import COUNT, ORDER, SLOW, in_limited_child
from tests.fuzz.mutants import Mutant, mutants, uncounted
from tests.fuzz.seeds import RECIPES, Seed, make_seed
from tests.fuzz.verbs import Bench


@pytest.mark.parametrize("name", RECIPES)
def test_no_lie_ends_in_a_traceback_or_without_end_or_in_a_change(
    name: str, memory_directory: Path
) -> None:
    faults = all_faults(
        name, memory_directory, lambda seed: mutants(seed, COUNT // SLOW.get(name, 1), ORDER)
    )
    assert not faults, "\n".join(faults[:10])


@pytest.mark.parametrize("name", RECIPES)
def test_whatever_cluster_is_counted_as_free_a_refusal_changes_nothing(
    name: str, memory_directory: Path
) -> None:
    faults = all_faults(
        name, memory_directory, lambda seed: list(uncounted(seed))[: 60 // SLOW.get(name, 1)]
    )
    assert not faults, "\n".join(faults[:10])


def all_faults(name: str, directory: Path, choose: Callable[[Seed], Iterable[Mutant]]) -> list[str]:
    """What all verbs do wrong with these mutants of a seed, in a process of little memory."""
    (maker := directory / "maker").mkdir()
    (work := directory / "work").mkdir()
    seed = make_seed(name, maker)

    def try_all() -> list[str]:
        bench, found = Bench(seed, work), []
        for mutant in choose(seed):
            found += [f"{mutant.name}\n  {fault}" for fault in bench.try_all(mutant)]
        return found

    return in_limited_child(try_all, directory / "answer")
