"""Ctrl-C, SIGTERM and SIGHUP while tools work: ended in seconds, restored, nothing left."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

import pytest

from growdisk.units import MiB
from tests.conftest import DiskMaker
from tests.e2e.judges import Before, assert_unchanged
from tests.e2e.process import Host, wait_for
from tests.guests.small import SmallDisk

pytestmark = pytest.mark.appliance

_SECONDS_TO_END = 30.0  # it takes one or two; the machine may be busy


@dataclass(frozen=True)
class Moment:
    """When the signal comes: `delay` seconds after `step` has begun to work."""

    step: str
    delay: float
    number: signal.Signals
    group: bool
    image: str = "guest.qcow2"
    backend: str = "guestfs"

    def __str__(self) -> str:
        return f"{self.number.name}-{self.step}-{self.delay}-{self.image}-{self.backend}"


MOMENTS = (
    Moment("reread-partitions", 0.0, signal.SIGINT, group=True),  # the appliance is being launched
    Moment("reread-partitions", 1.5, signal.SIGTERM, group=False, image="guest.raw"),
    Moment("grow-filesystem", 0.4, signal.SIGINT, group=True, image="guest.raw"),
    Moment("repair-guest", 0.2, signal.SIGHUP, group=False),
    # the kernel is being launched
    Moment("reread-partitions", 0.0, signal.SIGINT, group=True, backend="uml"),
    Moment("grow-filesystem", 0.1, signal.SIGTERM, group=False, image="guest.raw", backend="uml"),
    Moment("repair-guest", 0.1, signal.SIGINT, group=True, backend="uml"),
    Moment("reread-partitions", 0.0, signal.SIGTERM, group=False, backend="direct"),
    Moment("grow-filesystem", 0.0, signal.SIGINT, group=True, image="guest.raw", backend="direct"),
    Moment("grow-filesystem", 0.03, signal.SIGINT, group=True, backend="direct"),
    Moment("repair-guest", 0.0, signal.SIGHUP, group=False, backend="direct"),
)


# Of the emulated machine, the slowest, the launch and the end; the others show what is between.
_SLOW = MOMENTS[1:3]


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(moment, marks=[pytest.mark.slow] if moment in _SLOW else [])
        for moment in MOMENTS
    ],
    ids=str,
)
def test_a_signal_ends_the_run_soon_and_everything_is_back_as_it_was(
    small_disk: DiskMaker, host: Host, moment: Moment
) -> None:
    kind = moment.image.partition(".")[2]
    image = small_disk(
        moment.image, SmallDisk(size=128 * MiB, swap_size=16 * MiB, image_format=kind)
    )
    before = Before.of(image, kind)
    host.backend = moment.backend
    command = host.start("expand", image, "+1G")
    wait_for(command, image, "applying", moment.step)
    time.sleep(moment.delay)
    command.signal(moment.number, group=moment.group)
    answer = command.ended(_SECONDS_TO_END)
    assert (answer.code, answer.result) == (4, "restored")
    assert moment.number.name in str(answer.error["what"]), answer.error
    assert "back as it was" in answer.said
    host.assert_quiet()
    assert host.left_files() == []
    assert_unchanged(image, before)
