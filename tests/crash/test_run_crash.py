"""Whole runs on real images, killed at every change of a file: all done, or all undone.

The steps are growdisk's own, except that the file system's place is taken by a step that writes
bytes: the appliance is not needed to try engine, journal, snapshot stores and qcow2 engine
together. qemu-img is the judge.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from growdisk import api
from growdisk.api.guard import carried_at, in_a_run, refuse_run_at
from growdisk.api.images.opening import open_guest_content
from growdisk.workflow.journal import RunStatus
from tests.crash.dying import run_dying
from tests.crash.run_worlds import COMPANIONS, KINDS, grown_copy, judge, make_world
from tests.crash.whole_disks import assert_same_disk

ALL_KINDS = (*KINDS, *COMPANIONS)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_run_killed_at_any_change_is_finished_by_resume_or_undone_by_rollback(
    tmp_path: Path, kind: str
):
    world = make_world(tmp_path, kind)
    grown = grown_copy(world, tmp_path)
    deaths, finished, undone = 0, 0, 0
    for change in range(0, 2000, 3):
        world.reset()
        if not run_dying(world.begin, change):
            break
        deaths += 1
        status = world.state().status
        if status is RunStatus.NONE:  # it had not begun: nothing of the guest may have changed
            for image in world.images:
                assert_same_disk(image, world.pristine_of(image))
                refuse_run_at(image)  # and nobody is told that a run is in the way
        elif change % 2 or world.state().committing:
            world.go_on()
            judge(world, grown)
            finished += 1
        else:
            world.go_back()
            judge(world, world.pristine_of)
            undone += 1
    assert min(deaths - 20, finished - 5, undone - 5) > 0


@pytest.mark.parametrize("kind", ["internal", "overlay over raw, beside qcow2"])
def test_a_run_killed_before_it_began_leaves_no_mark_that_stays(tmp_path: Path, kind: str) -> None:
    """It was killed in every instant between the mark on an image and the begin of its journal."""
    world, marked = make_world(tmp_path, kind), 0
    image = next(each for each in world.images if each.suffix == ".qcow2")
    for change in range(200):
        world.reset()
        if not run_dying(world.begin, change) or world.state().status is not RunStatus.NONE:
            break
        if not is_marked(image):
            continue
        marked += 1
        assert api.status(image).state == "none"
        if marked % 2:  # a run of the first image alone begins, and ends, meanwhile
            shutil.rmtree(world.directory.path)
            world.directory.begin(b'{"run": "another"}')
        assert in_a_run(image) is None, "nothing of it is half done"
        with open_guest_content(image, writable=True) as device:
            assert is_marked(image), "opened is not changed"
            device.write(8192, b"other")
        assert not is_marked(image)
        refuse_run_at(image)
    assert marked > 0


def is_marked(image: Path) -> bool:
    carried = carried_at(image)
    return carried is not None and carried.is_marked


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_resume_or_rollback_that_is_killed_too_can_be_done_again(tmp_path: Path, kind: str):
    world = make_world(tmp_path, kind)
    grown = grown_copy(world, tmp_path)
    seconds = 0
    for first in range(9, 400, 17):
        world.reset()
        if not run_dying(world.begin, first):
            break
        if world.state().status is not RunStatus.UNFINISHED:
            continue
        backward = first % 2 == 0 and not world.state().committing
        for second in range(3, 60, 17):
            if not run_dying(world.go_back if backward else world.go_on, second):
                break
            seconds += 1
        if not world.state().finished:
            (world.go_back if backward else world.go_on)()
        world.directory.finish()  # as resume does where all was done but this
        judge(world, world.pristine_of if backward else grown)
    assert seconds > 4


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_kept_run_goes_back_to_any_step_and_commits_also_when_killed(tmp_path: Path, kind: str):
    world = make_world(tmp_path, kind, keep=True)
    grown = grown_copy(world, tmp_path)
    for change in range(0, 120, 13):
        world.reset()
        world.begin()
        assert world.state().status is RunStatus.KEPT
        action = world.commit if change % 2 else world.go_back
        run_dying(action, change)
        if not world.state().finished:
            action()
        judge(world, grown if change % 2 else world.pristine_of)


def test_a_finished_run_stays_one_wherever_putting_its_folder_away_is_cut_short(tmp_path: Path):
    world = make_world(tmp_path, "overlay over raw")
    world.reset()
    world.begin()
    folder = world.directory.path
    whole = shutil.copytree(folder, tmp_path / "whole")
    for change in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        died = run_dying(world.directory.put_away, change)
        assert world.state().status is RunStatus.DONE, change
        world.directory.put_away()
        assert world.state().status is RunStatus.DONE, change
        if not died:
            break
    assert change > 5 and not folder.exists()
