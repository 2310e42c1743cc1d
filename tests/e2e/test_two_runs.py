"""Two growdisk processes and one image: the second is refused with a name; status works."""

from __future__ import annotations

import pytest

from growdisk.units import MiB
from tests.conftest import DiskMaker
from tests.e2e.judges import Before, assert_unchanged
from tests.e2e.process import Host, wait_for
from tests.guests.small import SmallDisk

pytestmark = pytest.mark.appliance


@pytest.mark.parametrize("kind", ["qcow2", "raw"])
def test_while_a_run_goes_on_every_other_is_refused(
    small_disk: DiskMaker, host: Host, kind: str
) -> None:
    image = small_disk(
        f"guest.{kind}", SmallDisk(size=128 * MiB, swap_size=16 * MiB, image_format=kind)
    )
    before = Before.of(image, kind)
    host.backend = "guestfs"  # takes long enough
    first = host.start("expand", image, "+1G")
    wait_for(first, image, "applying", "reread-partitions")
    for words in (
        ["expand", image, "+1G"],
        ["plan", image],
        ["resume", image],
        ["rollback", image],
        ["commit", image],
    ):
        answer = host.growdisk(*words)
        assert answer.code == 3, (words, answer)
        assert f"(pid {first.process.pid}) has it open" in str(answer.error["why"]), words
    status = host.growdisk("status", image)
    assert (status.code, status.document["state"]) == (0, "running")
    assert status.document["pid"] == first.process.pid
    assert status.document["step"] == "reread-partitions"
    first.process.terminate()
    assert first.ended().code == 4
    assert_unchanged(image, before)
