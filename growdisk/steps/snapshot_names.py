"""How the snapshots of a run are named, and how such a name is read again.

The name is a function of run and step, so that a later process finds it. It also tells an image
that was renamed or copied without the folder of its run from one that has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from growdisk.fast_dataclass import dataclass

# A run is named by its date, its time and some random hexadecimal digits.
_NAME = re.compile(r"growdisk-(\d{8}-\d{6}-[0-9a-f]+)-([1-9]\d*)-(.+)")


@dataclass(frozen=True)
class RunSnapshot:
    """The `number`-th snapshot of a run (1: before all of it), taken as `name` before `step`."""

    name: str
    run: str
    number: int
    step: str


def snapshot_names(run: str, steps: Sequence[str]) -> dict[str, str]:
    """The name of each step's snapshot, in the order of the steps."""
    return {step: f"growdisk-{run}-{number}-{step}" for number, step in enumerate(steps, start=1)}


def run_snapshots(names: Iterable[str]) -> list[RunSnapshot]:
    """Those of `names` that are a run's, in their order. Nobody else's name looks like that."""
    found = ((name, _NAME.fullmatch(name)) for name in names)
    return [RunSnapshot(name, match[1], int(match[2]), match[3]) for name, match in found if match]
