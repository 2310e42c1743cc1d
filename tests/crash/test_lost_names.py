"""Somebody replaces, renames or removes the image in the middle of a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from growdisk import api
from growdisk.api.current_run import Silent
from tests.conftest import DiskMaker
from tests.e2e.process import need
from tests.guests.small import SmallDisk
from tests.guests.tools import run

_STEP = "reread-partitions"


def replaced(image: Path) -> Path:
    new = image.with_name("new")
    shutil.copy(image.with_name("copy"), new)
    return new.rename(image)


def renamed(image: Path) -> Path:
    return image.rename(image.with_name("moved"))


class Meanwhile(Silent):
    """Does it when the run is at a step in its middle."""

    def __init__(self, deed: Callable[[], None]) -> None:
        self._deed = deed

    def step_started(self, number: int, total: int, name: str, description: str) -> None:
        if name == _STEP:
            self._deed()


@pytest.mark.parametrize("deed", [replaced, renamed])
def test_the_run_is_taken_back_and_no_other_file_is_told_as_grown(
    small_disk: DiskMaker, deed: Callable[[Path], Path]
) -> None:
    need("direct")
    image = small_disk("guest.qcow2", SmallDisk())
    shutil.copy(image, image.with_name("copy"))
    left: list[Path] = []
    result = api.expand(image, "+64M", observer=Meanwhile(lambda: left.append(deed(image))))
    assert result.result == "restored", result
    assert "replaced, renamed or removed" in str(result.error)
    run("qemu-img", "check", "-q", left[0])
    run("qemu-img", "compare", left[0], image.with_name("copy"))
