"""Whole commands where one change of a file fails, or a folder of growdisk cannot be written.

A full disk, a failing one, a read-only one, a missing right: the exit code says how the disk
stands, in words; nothing is left that would be in the way of the next command.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.crash.expansion import Expansion
from tests.crash.full_host import MiB, fill, small_file_system
from tests.crash.whole import some

DONE, REFUSED, RESTORED, STUCK = 0, 3, 4, 5
ERRORS = [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES]


def failed(expansion: Expansion, changes: Iterable[int], errors: Iterable[int]) -> set[int]:
    """Exit codes."""
    found = set()
    for change in changes:
        for error in errors:
            expansion.host.reset()
            answer, _ = expansion.host.failing(*expansion.words, change=change, error=error)
            try:
                judge(expansion, answer.code)
            except AssertionError as wrong:
                told = f"{os.strerror(error)} at change {change}, exit {answer.code}: {answer.err}"
                raise AssertionError(f"{told}{wrong}") from wrong
            found.add(answer.code)
    return found


def judge(expansion: Expansion, code: int) -> None:
    """The disk is as the code says, and the next command does what it would have done."""
    told = expansion.state()
    if code == STUCK:
        assert told["state"] == "unfinished"
        expansion.host.answer(told["next"][0], expansion.image)
        if expansion.keep and expansion.state()["state"] == "kept":
            expansion.host.answer("commit", expansion.image)
        expansion.judge(grown=told["next"][0] == "resume")
        return
    assert code in (DONE, REFUSED, RESTORED)
    if expansion.keep and code == DONE:
        assert told["state"] == "kept"
        expansion.host.answer("rollback", expansion.image)
    elif code == DONE:
        expansion.judge_disks(grown=True)
    else:
        assert told["state"] in ("none", "undone")
        expansion.judge_disks(grown=False)
    # what could not be put away is put away by the next
    expansion.host.answer(*expansion.words)
    if expansion.keep:
        expansion.host.answer("commit", expansion.image)
    expansion.judge(grown=True)


def test_an_expand_that_fails_at_one_change_is_done_or_undone(tmp_path: Path) -> None:
    expansion = Expansion(tmp_path, "overlay")
    for number, change in enumerate(some(expansion.changes)):
        failed(expansion, [change], [ERRORS[number % len(ERRORS)]])


@pytest.mark.slow
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("kind", ["internal", "overlay", "internal, beside raw"])
def test_an_expand_that_fails_at_any_change(tmp_path: Path, kind: str, keep: bool) -> None:
    expansion = Expansion(tmp_path, kind, *(["--keep-snapshots"] if keep else []))
    codes = failed(expansion, range(expansion.changes), ERRORS)
    assert {DONE, REFUSED, RESTORED} <= codes


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    subprocess.run(["mount", "--bind", place, place], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@contextmanager
def no_folder(place: Path) -> Iterator[None]:
    """A file has its name."""
    aside = place.with_name("aside")
    place.rename(aside)
    place.touch()
    try:
        yield
    finally:
        place.unlink()
        aside.rename(place)


@contextmanager
def full(place: Path) -> Iterator[None]:
    """A small file system is mounted there, and filled; it is empty otherwise."""
    with small_file_system(place, "tmpfs", MiB):
        fill(place)
        yield


for_root = pytest.mark.skipif(os.geteuid() != 0, reason="to mount is for root")


@for_root
@pytest.mark.parametrize("spoilt", [read_only, no_folder, full], ids=lambda each: each.__name__)
def test_without_a_state_folder_an_image_grows_and_its_own_folder_is_the_record(
    tmp_path: Path, spoilt: Callable[[Path], AbstractContextManager[None]]
) -> None:
    expansion = Expansion(tmp_path, "overlay")
    host = expansion.host
    host.reset()
    with spoilt(host.state):
        host.answer(*expansion.words)
        assert expansion.state()["state"] == "done"
        host.answer("list", host.disks)
        host.answer(*expansion.words)
        assert host.answer("resume", expansion.image, "--json").json()["result"] == "nochange"
        expansion.judge_disks(grown=True)
    host.answer("resume", expansion.image)
    expansion.judge(grown=True)


@for_root
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_run_beside_an_image_that_is_read_only_by_now_goes_on_when_it_can_be_written(
    tmp_path: Path, share: float
) -> None:
    expansion = Expansion(tmp_path, "overlay")
    host = expansion.host
    assert expansion.die(int(expansion.changes * share))
    with read_only(host.disks):
        assert expansion.state()["state"] == "unfinished"
        host.answer("list", host.disks)
        host.answer("show", expansion.image)
        for verb in ("resume", "rollback", "commit"):
            host.answer(verb, expansion.image, code=REFUSED)
        host.answer(*expansion.words, code=REFUSED)
    assert expansion.state()["state"] == "unfinished"
    host.answer("resume", expansion.image)
    expansion.judge(grown=True)


@for_root
def test_an_image_that_is_read_only_is_refused_and_a_kept_run_stays(tmp_path: Path) -> None:
    expansion = Expansion(tmp_path, "internal", "--keep-snapshots")
    host = expansion.host
    host.reset()
    with read_only(host.disks):
        host.answer(*expansion.words, code=REFUSED)
        assert expansion.state()["state"] == "none"
    host.answer(*expansion.words)
    with read_only(host.disks):
        for verb in ("rollback", "commit"):
            host.answer(verb, expansion.image, code=REFUSED)
        assert host.answer("resume", expansion.image, "--json").json()["result"] == "nochange"
    host.answer("rollback", expansion.image)
    expansion.judge(grown=False)
