"""SIGKILL to the real process at every stage of a run: resume finishes it, rollback undoes it, nothing runs on.

The moment is found in the journal, and then a random while later. One test kills the same run again and again, which
costs one launch of the appliance for each death.
"""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.conftest import DiskMaker
from tests.e2e.judges import Before, assert_grown, assert_unchanged
from tests.e2e.process import Host, journal, wait_for
from tests.guests.small import SmallDisk

pytestmark = pytest.mark.appliance

IMAGES = ("guest.qcow2", "guest.raw")  # internal snapshots, overlays
_STEPS_TAKE = 0.015


@dataclass(frozen=True)
class Death:
    """Up to `within` seconds after the journal has `event` of `step`."""

    event: str
    step: str | None
    within: float

    def __str__(self) -> str:
        return f"{self.event}-{self.step or 'run'}"


# Before the appliance is launched a run is a matter of milliseconds: these deaths cost next to nothing.
EARLY = (
    Death("begin", None, _STEPS_TAKE),
    Death("snapshotting", "resize-image", _STEPS_TAKE),
    Death("applying", "resize-image", _STEPS_TAKE),
    Death("applied", "resize-image", _STEPS_TAKE),
    Death("snapshotting", "rewrite-partitions", _STEPS_TAKE),
    Death("applying", "rewrite-partitions", 3 * _STEPS_TAKE),
    Death("applied", "rewrite-partitions", _STEPS_TAKE),
    Death("snapshotting", "reread-partitions", _STEPS_TAKE),
)
LATE = (
    Death("applying", "reread-partitions", 4.0),  # the launch
    Death("applying", "grow-filesystem", 1.0),  # e2fsck
    Death("applying", "grow-filesystem", 4.0),  # resize2fs
    Death("applying", "repair-guest", 1.5),
    Death("settling", None, _STEPS_TAKE),
)


def make_guest(small_disk: DiskMaker, name: str) -> tuple[Path, Before]:
    kind = name.partition(".")[2]
    image = small_disk(name, SmallDisk(size=128 * MiB, swap_size=16 * MiB, image_format=kind))
    return image, Before.of(image, kind)


def die(host: Host, image: Path, death: Death, *words: str | Path) -> None:
    known = len(journal(image)) if words[0] == "resume" else 0
    command = host.start(*words)
    wait_for(command, image, death.event, death.step, known=known)
    time.sleep(random.uniform(0, death.within))
    command.kill()
    host.assert_quiet()


@pytest.mark.parametrize("name", IMAGES)
def test_a_run_killed_again_and_again_is_finished_by_resume(small_disk: DiskMaker, host: Host, name: str) -> None:
    image, before = make_guest(small_disk, name)
    die(host, image, EARLY[0], "expand", image, "+1G")
    late = LATE if name == IMAGES[0] else LATE[2:]  # enough for overlays, which differ in the end of a run
    for death in (*EARLY[1:], *late):
        die(host, image, death, "resume", image)
    answer = host.growdisk("resume", image)
    assert (answer.code, answer.result) in ((0, "changed"), (0, "nochange")), answer
    assert_grown(image, before)


@pytest.mark.parametrize("name", IMAGES)
def test_a_run_killed_before_the_launch_is_undone_by_rollback(small_disk: DiskMaker, host: Host, name: str) -> None:
    image, before = make_guest(small_disk, name)
    for death in EARLY:
        shutil.rmtree(image.with_name(image.name + ".growdisk"), ignore_errors=True)  # the former run's record
        die(host, image, death, "expand", image, "+1G")
        answer = host.growdisk("rollback", image)
        assert (answer.code, answer.result) == (0, "restored"), (death, answer)
        assert_unchanged(image, before)


@pytest.mark.parametrize(("death", "name"), list(zip(LATE[:-1], 2 * IMAGES, strict=True)), ids=str)
def test_a_run_killed_with_the_appliance_at_work_is_undone_by_rollback(
    small_disk: DiskMaker, host: Host, death: Death, name: str
) -> None:
    image, before = make_guest(small_disk, name)
    die(host, image, death, "expand", image, "+1G")
    assert host.growdisk("status", image).document["next"] == ["resume", "rollback"]
    answer = host.growdisk("rollback", image)
    assert (answer.code, answer.result) == (0, "restored"), answer
    assert_unchanged(image, before)
