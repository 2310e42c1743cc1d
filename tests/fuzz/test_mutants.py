"""Thousands of images that lie, and everything that can be done to them.

`MUTANTS=2000 MUTANTS_FROM=7 pytest tests/fuzz` looks closer: 2000 of each seed, in the order number 7.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.fuzz.mutants import Mutant, mutants, uncounted
from tests.fuzz.seeds import RECIPES, Seed, make_seed
from tests.fuzz.verbs import Bench

MEMORY = 400 << 20  # what a verb may take, whatever an image says
SLOW = {"luks": 8, "luks-data-file": 8}  # a file of 2 MiB, and a passphrase to be tried at each opening

COUNT = int(os.environ.get("MUTANTS", "120"))
ORDER = int(os.environ.get("MUTANTS_FROM", "0"))


@pytest.fixture
def memory_directory(tmp_path: Path) -> Iterator[Path]:
    """Where files cost no disk time, and may have holes of any length."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    directory = Path(tempfile.mkdtemp(prefix="growdisk-", dir="/dev/shm"))
    yield directory
    shutil.rmtree(directory)


@pytest.mark.parametrize("name", RECIPES)
def test_no_lie_ends_in_a_traceback_or_without_end_or_in_a_change(name: str, memory_directory: Path) -> None:
    faults = all_faults(name, memory_directory, lambda seed: mutants(seed, COUNT // SLOW.get(name, 1), ORDER))
    assert not faults, "\n".join(faults[:10])


@pytest.mark.parametrize("name", RECIPES)
def test_whatever_cluster_is_counted_as_free_a_refusal_changes_nothing(name: str, memory_directory: Path) -> None:
    faults = all_faults(name, memory_directory, lambda seed: list(uncounted(seed))[: 60 // SLOW.get(name, 1)])
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


def in_limited_child(deed: Callable[[], list[str]], answer: Path) -> list[str]:
    """What `deed` returns, in a process that can take MEMORY bytes more than it has."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        try:
            has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (has + MEMORY, resource.RLIM_INFINITY))
            answer.write_text(json.dumps(deed()))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    found: list[str] = json.loads(answer.read_text())
    return found
