"""Whole commands where one change of a file fails, or a folder of growdisk cannot be written.

A full disk, a failing one, a read-only one, a missing right: the exit code says how the disk
stands, in words; nothing is left that would be in the way of the next command.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.crash.expansion import Expansion
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
