"""SIGKILL at every stage of a real run: resume finishes it, rollback undoes it, no process stays.

The moment is found in the journal, and then a random while later. One test kills the same run again
and again; with the appliance each late death costs a launch, so those are few.
"""

from __future__ import annotations

import shutil
from itertools import cycle, product
from pathlib import Path

import pytest

from growdisk.units import MiB
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.run_places import record_folder
from tests.conftest import DiskMaker
from tests.e2e.dying import Death, die
from tests.e2e.judges import Before, assert_grown, assert_unchanged
from tests.e2e.process import Host
from tests.guests.small import SmallDisk

pytestmark = pytest.mark.appliance

IMAGES = ("guest.qcow2", "guest.raw")  # internal snapshots, overlays
_STEPS_TAKE = 0.015


# Before the first tool is at work a run is a matter of milliseconds: these deaths cost next to
# nothing.
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
COMMITTING = Death("settling", None, _STEPS_TAKE)
AT_WORK = {
    "guestfs": (
        Death("applying", "reread-partitions", 4.0),  # the launch
        Death("applying", "grow-filesystem", 0.4),  # e2fsck
        Death("applying", "grow-filesystem", 1.0),  # resize2fs
        Death("applying", "repair-guest", 0.5),
    ),
    "uml": (
        Death("applying", "reread-partitions", 0.4),  # the launch
        Death("applying", "grow-filesystem", 0.1),
        Death("applied", "grow-filesystem", 0.02),
        Death("applying", "repair-guest", 0.1),
    ),
    "direct": (
        Death("applying", "reread-partitions", 0.05),  # the mount, sfdisk
        Death("applying", "grow-filesystem", 0.03),  # e2fsck
        Death("applying", "grow-filesystem", 0.08),  # resize2fs
        Death("applied", "grow-filesystem", 0.02),
        Death("applying", "repair-guest", 0.05),  # debugfs
        Death("applying", "repair-guest", 0.1),
    ),
}


def make_guest(small_disk: DiskMaker, name: str) -> tuple[Path, Before]:
    kind = name.partition(".")[2]
    image = small_disk(name, SmallDisk(size=128 * MiB, swap_size=16 * MiB, image_format=kind))
    return image, Before.of(image, kind)


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        pytest.param("guest.qcow2", "guestfs", marks=pytest.mark.slow),
        *product(IMAGES, ("uml", "direct")),
    ],
)
def test_a_run_killed_again_and_again_is_finished_by_resume(
    small_disk: DiskMaker, host: Host, name: str, backend: str
) -> None:
    image, before = make_guest(small_disk, name)
    host.backend = backend
    die(host, image, EARLY[0], "expand", image, "+1G")
    at_work = AT_WORK[backend][::2] if backend == "guestfs" else AT_WORK[backend]
    for number, death in enumerate((*EARLY[1:], *at_work, COMMITTING)):
        if host.growdisk("status", image).document["state"] != "unfinished":
            assert number >= len(EARLY)
            break  # on a quick machine: the last death came when all was over
        die(host, image, death, "resume", image)
    answer = host.growdisk("resume", image)
    assert (answer.code, answer.result) in ((0, "changed"), (0, "nochange")), answer
    assert answer.document["backend"] == backend
    assert_grown(image, before)
    host.assert_quiet()


def test_a_run_killed_when_all_was_done_but_giving_its_reserve_back_gives_it_back_by_resume(
    small_disk: DiskMaker, host: Host
) -> None:
    image, before = make_guest(small_disk, "guest.qcow2")
    assert host.growdisk("expand", image, "+1G").result == "changed"
    directory = RunDirectory(image)
    # As it was before it was put away, when a record learns what it is of.
    shutil.copytree(
        record_folder(image), directory.path, ignore=shutil.ignore_patterns("image.json")
    )
    directory.set_aside()
    assert host.growdisk("resume", image).result == "nochange"
    assert not directory.path.exists()
    assert_grown(image, before)


@pytest.mark.parametrize("name", IMAGES)
def test_a_run_killed_before_any_tool_was_at_work_is_undone_by_rollback(
    small_disk: DiskMaker, host: Host, name: str
) -> None:
    image, before = make_guest(small_disk, name)
    for death in EARLY:
        # the former run's record
        shutil.rmtree(image.with_name(image.name + ".growdisk"), ignore_errors=True)
        die(host, image, death, "expand", image, "+1G")
        answer = host.growdisk("rollback", image)
        assert (answer.code, answer.result) == (0, "restored"), (death, answer)
        assert_unchanged(image, before)


@pytest.mark.parametrize(
    ("death", "name", "backend"),
    [
        # an emulated machine takes its time: two deaths, with each way back, are tried at once
        pytest.param(
            *(death, name, backend),
            marks=[pytest.mark.slow] if backend == "guestfs" and number in (1, 2) else [],
        )
        for backend, deaths in AT_WORK.items()
        for number, (death, name) in enumerate(zip(deaths, cycle(IMAGES), strict=False))
    ],
    ids=str,
)
def test_a_run_killed_with_tools_at_work_is_undone_by_rollback(
    small_disk: DiskMaker, host: Host, death: Death, name: str, backend: str
) -> None:
    image, before = make_guest(small_disk, name)
    host.backend = backend
    die(host, image, death, "expand", image, "+1G")
    state = host.growdisk("status", image).document
    # on a quick machine all steps may have been done in time: no way back then
    if state["next"] in ([], ["resume"]):
        return
    assert state["next"] == ["resume", "rollback"]
    answer = host.growdisk("rollback", image)
    assert (answer.code, answer.result) == (0, "restored"), answer
    assert_unchanged(image, before)
