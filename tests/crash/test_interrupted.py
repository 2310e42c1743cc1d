"""Ctrl-C in the middle of a change: at any line of the engine, not only where something is written.

What is half done in memory must not reach the file: it is left as a process that dies leaves it,
and repaired as the next program would.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from growdisk.api.images.resizing import resize_image
from growdisk.api.images.snapshots import apply_snapshot, create_snapshot, delete_snapshot
from growdisk.qcow2.create_options import CreateOptions
from growdisk.units import SizeSpec
from tests.crash.verb_worlds import (
    IN_PLACE,
    SIZE,
    Change,
    fill,
    judge,
    make_image,
    plain,
    renew,
    world,
)
from tests.oracle.qemu import qemu_check

POINTS = 25
ENGINE = f"{Path(__file__).parents[2]}/growdisk/qcow2/"
DONE, BUG, INTERRUPTED = 0, 1, 130


def small_clusters(directory: Path) -> None:
    make_image(directory / "image.qcow2", CreateOptions(512))
    fill(directory / "image.qcow2", 3)


def grow(path: Path) -> None:
    resize_image(path, SizeSpec(4 * SIZE, relative=False), preallocation="metadata")


CHANGES: list[tuple[str, Callable[[Path], None], Change]] = [
    *(each for each in IN_PLACE if each[0] in ("write", "rebase", "commit", "shrink-data-file")),
    ("grow", small_clusters, grow),
    ("snapshot", plain, lambda path: create_snapshot(path, "two")),
    ("apply", plain, lambda path: apply_snapshot(path, "one")),
    ("delete", plain, lambda path: delete_snapshot(path, "one")),
]


def interrupted(action: Callable[[], object], line: int) -> tuple[int, int]:
    """Run `action` in a child that is interrupted at a line of the engine.

    Returns the exit code, and how many lines it came to.
    """
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os._exit(_counting(action, line, tell))
    os.close(tell)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with os.fdopen(told) as pipe:
        return code, int(pipe.read())


def _counting(action: Callable[[], object], line: int, tell: int) -> int:
    lines = 0

    def trace(frame: FrameType, event: str, _argument: object) -> object:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(ENGINE):
            return None
        if event == "line":
            lines += 1
            if lines == line:
                raise KeyboardInterrupt
        return trace

    code = DONE
    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException:
        traceback.print_exc()
        code = BUG
    sys.settrace(None)
    os.write(tell, str(lines).encode())
    return code


@pytest.mark.parametrize(("name", "prepare", "action"), CHANGES, ids=[name for name, *_ in CHANGES])
def test_an_interrupted_change_leaves_a_sound_image(
    tmp_path: Path, name: str, prepare: Callable[[Path], None], action: Change
) -> None:
    pristine, work, before, after = world(tmp_path, prepare, action)
    image = work / "image.qcow2"
    renew(pristine, work)
    code, lines = interrupted(lambda: action(image), 0)
    assert code == DONE
    for point in range(1, POINTS + 1):
        renew(pristine, work)
        code, _ = interrupted(lambda: action(image), lines * point // (POINTS + 1))
        assert code == INTERRUPTED, (name, point)
        for path in work.glob("*.qcow2"):
            assert qemu_check(path)[0] == 0, (name, point, qemu_check(path))
        judge(work, before, after)
