"""Runs on a host that is full from any point on: all done, or all as before, space too.

The file system is a real one. The guest is that of test_run_crash.py; qemu-img is the judge.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from growdisk.api.current_run import CurrentRun
from growdisk.api.result import run_to_outcome
from growdisk.api.session import Session
from growdisk.errors import GrowdiskError
from growdisk.workflow.journal import RunStatus
from tests.crash.dying import run_dying
from tests.crash.full_host import MiB, fill, free_room, make_room, run_until_full, small_file_system
from tests.crash.run_worlds import KINDS, World, judge, make_world
from tests.crash.whole_disks import assert_same_disk

DONE, REFUSED, RESTORED = 0, 3, 4
RECORD = 160 << 10  # what the record of a run that is over may take: a folder, a plan, a journal


def attempt(world: World) -> int:
    """A new run, to its exit code."""
    with closing(world._open()) as disk:
        try:
            plan = world._plan(disk)
            session = Session.begin(CurrentRun(world.image, plan, world.directory), disk)
        except OSError:
            world.directory.withdraw()
            return REFUSED
        error = run_to_outcome(session.engine.advance)
        return end(session, error)


def end(session: Session, error: GrowdiskError | None) -> int:
    if error is not None:
        sys.stderr.write(f"{error}\n")  # shown where the test fails
    session.snapshots.close()
    session.run.directory.finish()
    return error.exit_code if error else DONE


def back(world: World) -> int:
    with closing(world._open()) as disk:
        session = Session.reopen(CurrentRun(world.image, world._plan(disk), world.directory), disk)
        return end(session, run_to_outcome(session.engine.roll_back))


@contextmanager
def world_on(tmp_path: Path, kind: str, file_system: str, *, keep: bool = False) -> Iterator[World]:
    """The world of a kind, its folder a small file system."""
    world = make_world(tmp_path, kind, keep=keep)
    with small_file_system(
        world.folder, file_system, 320 * MiB if file_system == "xfs" else 64 * MiB
    ):
        yield world


def renew(world: World) -> None:
    make_room(world.folder)
    subprocess.run(
        ["find", world.folder, "-mindepth", "1", "-not", "-name", "lost+found", "-delete"],
        check=True,
    )
    for image in world.images:
        subprocess.run(["cp", "--sparse=auto", world.pristine_of(image), image], check=True)


def grown_images(world: World, tmp_path: Path) -> None:
    renew(world)
    assert attempt(world) == DONE
    for image in world.images:
        subprocess.run(
            ["cp", "--sparse=always", image, tmp_path / f"grown-{image.name}"], check=True
        )


def judge_end(world: World, code: int, tmp_path: Path, free: int, note: str) -> None:
    """The outcome is as reported, while the host is full and after; no space is missing then."""
    try:
        assert code in (DONE, REFUSED, RESTORED)
        judge(
            world,
            (lambda image: tmp_path / f"grown-{image.name}") if code == DONE else world.pristine_of,
        )
        make_room(world.folder)
        if code != DONE:
            assert free_room(world.folder) >= free - RECORD, (
                f"{free - free_room(world.folder)} bytes are missing"
            )
    except AssertionError as error:
        raise AssertionError(f"{note}, exit {code}: {error}") from error


def every_change(world: World, tmp_path: Path, step: int) -> set[int]:
    grown_images(world, tmp_path)
    codes = set()
    for change in range(0, 5000, step):
        renew(world)
        free = free_room(world.folder)
        code, was_full = run_until_full(lambda: attempt(world), change, lambda: fill(world.folder))
        judge_end(world, code, tmp_path, free, f"full before change {change}")
        codes.add(code)
        if not was_full:
            return codes
    raise AssertionError("the run has no end")


@pytest.mark.parametrize("kind", KINDS)
def test_a_host_that_fills_up_ends_a_run_done_or_undone(tmp_path: Path, kind: str) -> None:
    with world_on(tmp_path, kind, "tmpfs") as world:
        assert every_change(world, tmp_path, 7) == {DONE, REFUSED, RESTORED}


@pytest.mark.slow
@pytest.mark.parametrize("file_system", ["ext4", "xfs", "tmpfs"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_host_that_fills_up_at_any_change_whatever_its_file_system(
    tmp_path: Path, kind: str, file_system: str
) -> None:
    with world_on(tmp_path, kind, file_system) as world:
        assert every_change(world, tmp_path, 1) == {DONE, REFUSED, RESTORED}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_died_goes_back_on_a_host_without_a_free_byte(tmp_path: Path, kind: str) -> None:
    with world_on(tmp_path, kind, "tmpfs") as world:
        renew(world)
        free, undone = free_room(world.folder), 0
        for change in range(11, 2000, 13):
            renew(world)
            if not run_dying(lambda: attempt(world), change):
                break
            state = world.state()
            if state.status is RunStatus.UNFINISHED and not state.committing:
                world.directory.make_room()  # somebody has taken that, too
                fill(world.folder)
                assert back(world) == DONE, f"died before change {change}"
                judge_end(world, RESTORED, tmp_path, free, f"died before change {change}")
                undone += 1
        assert undone > 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_kept_run_goes_back_on_a_host_without_a_free_byte(tmp_path: Path, kind: str) -> None:
    with world_on(tmp_path, kind, "tmpfs", keep=True) as world:
        renew(world)
        free = free_room(world.folder)
        assert attempt(world) == DONE
        fill(world.folder)
        assert back(world) == DONE
        assert_same_disk(world.image, world.pristine)
        judge_end(world, RESTORED, tmp_path, free, "kept")


# A quota and a limit are a full disk by another name: on one kind of image they are tried at once.
_ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG)


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        pytest.param(
            *(kind, number),
            marks=[pytest.mark.slow] if kind != "internal" and number in _ERRORS[2:] else [],
            id=f"{kind}-{errno.errorcode[number]}",
        )
        for kind in KINDS
        for number in _ERRORS
    ],
)
def test_one_failure_of_the_host_ends_a_run_done_or_undone(
    tmp_path: Path, kind: str, number: int
) -> None:
    """A quota, a limit, a disk that fails once: at any change."""
    world = make_world(tmp_path, kind)
    grown_images(world, tmp_path)

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    codes = set()
    for change in range(number % 5, 5000, 5):
        renew(world)
        free = used_by(world.folder)
        code, failed = run_until_full(lambda: attempt(world), change, fail)
        judge_end(world, code, tmp_path, 0, f"{errno.errorcode[number]} at change {change}")
        if code != DONE:
            assert used_by(world.folder) <= free + RECORD, change
        codes.add(code)
        if not failed:
            break
    assert codes == {DONE, REFUSED, RESTORED}


def used_by(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))
