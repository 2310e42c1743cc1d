"""What a running machine writes to is not replaced, nor emptied with the folder of a run."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from growdisk.api.live_target import LiveRequest, RunningGuest, reach
from growdisk.api.provisioning.work_image import put_in_place
from growdisk.errors import ImageInUse
from growdisk.live.block_jobs import put_overlay
from growdisk.playbook.checkpoints import PlaySnapshot
from growdisk.playbook.host_run import remove_made
from growdisk.qcow2.create import create
from tests.online.bare import bare, image
from tests.online.machine import bare_machine
from tests.online.overlay_world import planned_on, target_of
from tests.refusals import raises

pytestmark = pytest.mark.timeout(120)


def test_a_play_does_not_put_a_copy_in_the_place_of_a_disk_that_a_guest_writes_to(
    tmp_path: Path,
) -> None:
    path = image(tmp_path, "raw")
    way_back = PlaySnapshot(path, "run", 1)
    way_back.take()
    with bare_machine(path, "raw"):
        inode = path.stat().st_ino
        with pytest.raises(ImageInUse):
            way_back.restore()
        assert path.stat().st_ino == inode
    way_back.restore()
    assert path.stat().st_ino != inode
    way_back.restore()  # after a crash behind the last step


def test_what_a_play_has_made_stays_while_a_guest_writes_to_it(tmp_path: Path) -> None:
    path = image(tmp_path)
    with bare_machine(path):
        with pytest.raises(ImageInUse):
            remove_made(path)
        assert path.exists()
    remove_made(path)
    remove_made(path)
    assert not path.exists()


def test_an_output_does_not_replace_an_image_that_a_guest_has_opened_meanwhile(
    tmp_path: Path,
) -> None:
    path, new = image(tmp_path), image(tmp_path, name="new")
    with bare_machine(path):
        with pytest.raises(ImageInUse):
            put_in_place(new, path, force=True)
        assert new.exists()
    put_in_place(new, path, force=True)
    assert not new.exists()


def test_no_run_begins_in_a_folder_that_has_an_overlay_under_the_guest(tmp_path: Path) -> None:
    """Its plan is lost: the folder would be emptied for the new run."""
    with bare(tmp_path) as (guest, machine):
        folder = guest.image.with_name(guest.image.name + ".growdisk")
        folder.mkdir()
        overlay = folder / "01-resize-image.qcow2"
        disk = machine.disks()[0]
        create(overlay, disk.size, backing=Path(f"../{guest.image.name}"), backing_format="qcow2")
        put_overlay(machine, disk.key, overlay, "layer")
        found = reach(LiveRequest(qmp=guest.sockets.qmp))
        assert isinstance(found, RunningGuest)
        with closing(found):
            with raises("overlay-of-no-run", match=overlay.name):
                planned_on(found)
            target_of(found).put_away()
        assert overlay.exists()
