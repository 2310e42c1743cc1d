"""The image engine on a machine that dies at every write, in every order of the disk's.

Each scenario is recorded once; every state that the crash can leave is opened, repaired where it
says so, and judged. A sample is also judged by qemu-img.
"""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from growdisk.qcow2.check.checker import check
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.header import read_header
from tests.crash.judge import judge, see
from tests.crash.recording import RecordingFile
from tests.crash.states import CrashState, crash_states, durable_content
from tests.crash.worlds import (
    ACROSS_SIZES,
    BESIDE_BITMAPS,
    COMPRESSED,
    L1_MOVES,
    PREALLOCATED,
    REFTABLE_MOVES,
    RESIZES,
    SNAPSHOTS,
    UPGRADES,
    WRITES,
    Scenario,
    Shape,
    World,
)
from tests.oracle.qemu import qemu_check

V2, V3 = Shape(2, 16), Shape(3, 16)
TINY, TINY_V2, TINY_WIDE = Shape(3, 9), Shape(2, 9), Shape(3, 9, 6)
EXTENDED = Shape(3, 14, extended=True)
NARROW, LARGE = Shape(3, 12, 2), Shape(3, 21, 3)

PER_WINDOW = int(os.environ.get("CRASH_STATES_PER_WINDOW", "6"))  # raise it to look closer

CASES = [
    *((shape, scenario) for scenario in WRITES for shape in (V2, V3, TINY)),
    *((shape, scenario) for scenario in SNAPSHOTS for shape in (V2, V3, TINY, TINY_V2, NARROW)),
    *((shape, scenario) for scenario in RESIZES for shape in (V3, TINY)),
    *((shape, scenario) for scenario in ACROSS_SIZES for shape in (V3, TINY, NARROW)),
    *((LARGE, scenario) for scenario in (RESIZES[1], ACROSS_SIZES[1])),
    *((shape, scenario) for scenario in COMPRESSED for shape in (V2, V3, TINY, EXTENDED)),
    *((shape, scenario) for scenario in PREALLOCATED for shape in (V3, TINY, EXTENDED)),
    *((shape, scenario) for scenario in BESIDE_BITMAPS for shape in (V3, TINY)),
    *((shape, scenario) for scenario in UPGRADES for shape in (V2, TINY_V2)),
    (Shape(3, 12, 0), SNAPSHOTS[0]),  # refcounts that have to become wider first
    (Shape(3, 9, 1), SNAPSHOTS[1]),
    *((EXTENDED, scenario) for scenario in (*WRITES, *SNAPSHOTS[1::2], *RESIZES, *ACROSS_SIZES)),
    *((shape, scenario) for scenario in L1_MOVES for shape in (TINY, TINY_WIDE)),
    *((TINY_WIDE, scenario) for scenario in REFTABLE_MOVES),
]


@pytest.mark.parametrize(("shape", "scenario"), CASES, ids=str)
def test_every_crash_leaves_a_usable_image(tmp_path: Path, shape: Shape, scenario: Scenario):
    world = World(tmp_path, shape, scenario)
    recording, returned = world.act()
    before = see(world, RecordingFile(world.start.copy()))
    after = see(world, RecordingFile(recording.content.copy()))
    assert before != after
    assert see(world, RecordingFile(durable_content(recording, returned))) == after, (
        "not durable when it returned"
    )
    chance = random.Random(world.path.name)
    states = list(crash_states(recording, seed=chance.randrange(1000), per_window=PER_WINDOW))
    if len(states) > 20 * PER_WINDOW:
        states = chance.sample(states, 20 * PER_WINDOW)
    for number, state in enumerate(states):
        try:
            judge(world, state, before, after, closely=number % 10 == 0)
        except Exception as error:
            raise AssertionError(f"{state.note} (state {number}): {error!r}") from error
    assert_qemu_agrees(world, chance.sample(states, 2))


def assert_qemu_agrees(world: World, states: list[CrashState]) -> None:
    with ThreadPoolExecutor(2) as pool:
        files = [world.path.with_suffix(f".{number}.qcow2") for number in range(len(states))]
        for problem in pool.map(qemu_problem, files, states):
            assert problem is None, problem


def qemu_problem(image: Path, state: CrashState) -> str | None:
    """What differs if qemu-img counts otherwise, or its repair leaves a dirty image unsound."""
    state.content.save(image)
    ours = check(state.open(), image)
    dirty = read_header(state.open(), image).has(Incompatible.DIRTY)
    code, counts = qemu_check(image)
    if (counts["leaks"], counts["corruptions"]) != (ours.leaks, ours.corruptions):
        return f"{state.note}: {counts} here, {ours} there"
    if dirty:
        qemu_check(image, "-r", "all")
        code, counts = qemu_check(image)
    image.unlink()
    return (
        f"{state.note}: unsound after qemu-img check -r all: {counts}" if dirty and code else None
    )
