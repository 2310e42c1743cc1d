"""Verbs on a host whose disk fails once at a flush: the exit code says how the image is."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from growdisk.errors import GrowdiskError
from tests.crash.dying import SYNCING
from tests.crash.full_host import run_until_full
from tests.crash.verb_worlds import (
    IN_PLACE,
    NEW,
    Change,
    check_is_sound,
    judge,
    plain,
    renew,
    seen,
    world,
)

DONE, REFUSED, RESTORED, NEEDS_USER = 0, 3, 4, 5


def fail() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def code_of(action: Callable[[], object]) -> int:
    try:
        action()
    except GrowdiskError as error:
        sys.stderr.write(f"{error}\n")  # shown where the test fails
        return error.exit_code
    return DONE


@pytest.mark.parametrize(
    ("name", "prepare", "action"), IN_PLACE, ids=[name for name, *_ in IN_PLACE]
)
def test_what_is_told_of_an_image_whose_disk_fails_is_true(
    tmp_path: Path, name: str, prepare: Callable[[Path], None], action: Change
) -> None:
    pristine, work, before, after = world(tmp_path, prepare, action)
    image, codes = work / "image.qcow2", set()
    for number in range(100):
        renew(pristine, work)
        code, has_failed = run_until_full(
            lambda: code_of(lambda: action(image)), number, fail, names=SYNCING
        )
        codes.add(code)
        if code == NEEDS_USER:
            judge(work, before, after)
        else:
            assert code in (DONE, REFUSED, RESTORED)
            assert seen(image) == (after if code == DONE else before), (number, code)
            assert check_is_sound(image)
        if not has_failed:
            break
    assert DONE in codes, name
    assert len(codes) > 1, name


@pytest.mark.parametrize(("name", "action"), NEW, ids=[name for name, _ in NEW])
def test_a_new_file_on_a_disk_that_fails_is_there_if_that_is_told(
    tmp_path: Path, name: str, action: Change
) -> None:
    pristine, work = tmp_path / "pristine", tmp_path / "work"
    pristine.mkdir()
    plain(pristine)
    for number in range(100):
        renew(pristine, work)
        names = {path.name for path in work.iterdir()}
        code, has_failed = run_until_full(
            lambda: code_of(lambda: action(work / "image.qcow2")),
            number,
            fail,
            names=SYNCING,
        )
        made = {"new"} if code == DONE else set()
        assert {path.name for path in work.iterdir()} == names | made, (number, code)
        if not has_failed:
            break
    assert number, name
