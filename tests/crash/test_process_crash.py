"""The same verbs in real processes: killed at a change of a file, and on a full host."""

from __future__ import annotations

import os
import resource
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from growdisk.api.images.checking import check_image
from growdisk.api.images.converting import Qcow2Target, Source, convert_image
from growdisk.api.images.creating import create_qcow2
from growdisk.api.images.resizing import resize_image
from growdisk.api.images.snapshots import create_snapshot
from growdisk.errors import GrowdiskError, Refused
from growdisk.qcow2.create_options import CreateOptions
from growdisk.units import SizeSpec
from tests.crash.dying import run_dying
from tests.crash.verb_worlds import (
    IN_PLACE,
    NEW,
    SIZE,
    Change,
    check_is_sound,
    judge,
    plain,
    renew,
    seen,
    world,
)
from tests.crash.worlds import KiB

LIMITS = (0.0, 0.3, 0.7, 1.0, 1.1, 1.4)  # of the longest file
DONE, REFUSED, FAILED, BUG = 0, 3, 4, 70
GROWING: list[tuple[str, Callable[[Path], None], Change]] = [
    *IN_PLACE,
    ("snapshot", plain, lambda path: create_snapshot(path, "two")),
    ("grow-full", plain,
     lambda path: resize_image(path, SizeSpec(1024 * KiB, relative=False), preallocation="full")),
    ("grow-metadata", plain,
     lambda path: resize_image(path, SizeSpec(4096 * KiB, relative=False),
         preallocation="metadata")),
]  # fmt: skip


def some_numbers() -> Iterator[int]:
    """Close together at first, then farther and farther apart."""
    number, step = 0, 1
    while True:
        yield number
        number, step = number + step, step + (number > 6)


@pytest.mark.parametrize(
    ("name", "prepare", "action"), IN_PLACE, ids=[name for name, *_ in IN_PLACE]
)
def test_a_killed_process_leaves_the_old_guest_or_the_new_one(
    tmp_path: Path, name: str, prepare: Callable[[Path], None], action: Change
) -> None:
    pristine, work, before, after = world(tmp_path, prepare, action)
    for number in some_numbers():
        renew(pristine, work)
        died = run_dying(lambda: action(work / "image.qcow2"), number)
        judge(work, before, after)
        if not died:
            break
    assert number, name


@pytest.mark.parametrize(("name", "action"), NEW, ids=[name for name, _ in NEW])
def test_a_killed_process_leaves_no_half_of_a_file_and_the_next_one_succeeds(
    tmp_path: Path, name: str, action: Change
) -> None:
    pristine, work = tmp_path / "pristine", tmp_path / "work"
    pristine.mkdir()
    plain(pristine)
    for number in some_numbers():
        renew(pristine, work)
        if not run_dying(lambda: action(work / "image.qcow2"), number):
            break
        if not (work / "new").exists():
            action(work / "image.qcow2")
        assert {file.name for file in work.iterdir()} - {".new.growdisk-new", "patch"} == {
            "image.qcow2",
            "new",
        }
        if not name.endswith(("raw", "raw-full")):
            assert check_is_sound(work / "new")


@pytest.mark.parametrize("verb", ["create", "convert"])
def test_a_killed_process_leaves_no_data_file_that_stands_in_the_way_of_the_next(
    tmp_path: Path, verb: str
) -> None:
    pristine, work = tmp_path / "pristine", tmp_path / "work"
    pristine.mkdir()
    plain(pristine)
    options = CreateOptions(4 * KiB, data_file="data")

    def make(new: Path) -> None:
        if verb == "create":
            create_qcow2(new, SIZE, options)
        else:
            convert_image(
                Source(new.with_name("image.qcow2")), new, Qcow2Target(options), lambda _d, _t: None
            )

    number = 0
    for number in range(1000):
        renew(pristine, work)
        if not run_dying(lambda: make(work / "new"), number):
            break
        if (work / "new").exists():
            with pytest.raises(Refused):
                make(work / "new")
        else:
            make(work / "new")
        assert check_is_sound(work / "new")
        assert {file.name for file in work.iterdir()} == {
            "image.qcow2",
            "patch",
            "new",
            "data",
        }, number
        if verb == "convert":
            assert seen(work / "new") == seen(work / "image.qcow2")
    assert number > 10


@pytest.mark.parametrize(("name", "prepare", "action"), GROWING, ids=[name for name, *_ in GROWING])
def test_without_room_a_verb_fails_in_words_and_the_guest_is_whole(
    tmp_path: Path, name: str, prepare: Callable[[Path], None], action: Change
) -> None:
    pristine, work, before, after = world(tmp_path, prepare, action)
    longest = max(file.stat().st_size for file in pristine.iterdir())
    outcomes = set()
    for share in LIMITS:
        renew(pristine, work)
        contents = {file.name: file.read_bytes() for file in work.iterdir()}
        outcome = run_limited(lambda: action(work / "image.qcow2"), int(longest * share))
        assert outcome in (DONE, REFUSED, FAILED), f"{name} at {share} of the size: {outcome}"
        if outcome == REFUSED:
            assert {file.name: file.read_bytes() for file in work.iterdir()} == contents
        judge(work, before, after)
        if outcome == DONE:
            assert seen(work / "image.qcow2") == after
        outcomes.add(outcome)
    assert outcomes & {REFUSED, FAILED}, "no limit was low enough to be met"


@pytest.mark.parametrize(("name", "action"), NEW, ids=[name for name, _ in NEW])
def test_without_room_no_half_of_a_file_stays(tmp_path: Path, name: str, action: Change) -> None:
    pristine, work = tmp_path / "pristine", tmp_path / "work"
    pristine.mkdir()
    plain(pristine)
    for limit in (0, 10 * KiB, 100 * KiB):
        renew(pristine, work)
        outcome = run_limited(lambda: action(work / "image.qcow2"), limit)
        names = {file.name for file in work.iterdir()} - {"patch"}
        assert (outcome, names) in (
            (DONE, {"image.qcow2", "new"}),
            (REFUSED, {"image.qcow2"}),
            (FAILED, {"image.qcow2"}),
        )
        assert outcome or limit, name
        assert check_image(work / "image.qcow2") is not None


# --- shared ---------------------------------------------------------------------------------------


def run_limited(action: Callable[[], object], limit: int) -> int:
    """How a child ends that can write no file beyond `limit` bytes."""
    answer, told = os.pipe()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            action()
        except GrowdiskError as error:
            os._exit(REFUSED if isinstance(error, Refused) else error.exit_code)
        except BaseException:
            os.write(told, traceback.format_exc().encode())
            os._exit(BUG)
        os._exit(DONE)
    os.close(told)
    with os.fdopen(answer, encoding="utf-8") as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code != BUG, said
    return code
