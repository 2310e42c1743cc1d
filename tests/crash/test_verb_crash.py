"""Verbs that change several files, or replace one, on a machine that dies at any point.

What is on the disk then is opened as the next program does. The guest must see its old bytes or
its new ones, images must be sound, and a file that was to appear is either whole or not there.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.host import HostState, recorded
from tests.crash.verb_worlds import IN_PLACE, NEW, Change, check_is_sound, judge, plain, seen
from tests.oracle.qemu import qemu_check

STATES = 16


# --- worlds ---------------------------------------------------------------------------------------


# --- one file or several: old or new --------------------------------------------------------------

#: The guest must not notice anything.
UNSEEN = (
    "commit",
    "commit-raw",
    "rebase",
    "rebase-none",
    "compact",
    "snapshot-encrypted",
    "delete-encrypted",
)


@pytest.mark.parametrize(
    ("name", "prepare", "action"), IN_PLACE, ids=[name for name, *_ in IN_PLACE]
)
def test_a_crash_leaves_the_old_guest_or_the_new_one(
    tmp_path: Path, name: str, prepare: Callable[[Path], None], action: Change
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    prepare(work)
    path = work / "image.qcow2"
    before = seen(path)
    with recorded(work) as tape:
        action(path)
    after = seen(path)
    assert (before == after) == (name in UNSEEN)
    assert check_is_sound(path)
    states = list(tape.states(seed=len(tape.log), count=STATES))
    for state in states:
        state.save(work)
        try:
            judge(work, before, after)
        except Exception as error:
            raise AssertionError(f"{state.note}: {error!r}") from error
    qemu_agrees(random.Random(name).choice(states), work)


def qemu_agrees(state: HostState, work: Path) -> None:
    """Before any repair by us: sound for QEMU too, or marked for its repair."""
    state.save(work)
    for image in work.glob("*.qcow2"):
        if image.read_bytes()[79] & 1 or image.read_bytes()[32:36] != bytes(4):
            continue  # dirty; or encrypted, which qemu-img does not check without the key
        code, counts = qemu_check(image)
        assert code in (0, 3), (state.note, counts)


# --- a new file: whole or not there ---------------------------------------------------------------


@pytest.mark.parametrize(("name", "action"), NEW, ids=[name for name, _ in NEW])
def test_a_new_file_is_whole_or_not_there(tmp_path: Path, name: str, action: Change) -> None:
    work = tmp_path / "work"
    work.mkdir()
    plain(work)
    source = (work / "image.qcow2").read_bytes()
    with recorded(work) as tape:
        action(work / "image.qcow2")
    whole = (work / "new").read_bytes()
    found = set()
    for state in tape.states(seed=3, count=STATES):
        state.save(work)
        assert (work / "image.qcow2").read_bytes() == source
        found.add((work / "new").exists())
        if (work / "new").exists():
            assert (work / "new").read_bytes() == whole, state.note
        else:
            assert {file.name for file in work.iterdir()} <= {
                "image.qcow2",
                "patch",
                ".new.growdisk-new",
            }, state.note
    assert found == {True, False}, name
