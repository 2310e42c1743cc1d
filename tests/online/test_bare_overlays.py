"""Overlays under a running machine: nothing that it writes to is ever removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.errors import ImageInUse
from growdisk.qcow2.create import create
from growdisk.workflow.failures import NothingToRestore, StoppedWithoutSnapshots
from growdisk.workflow.journal import Event, JournalRecord, RunStatus
from growdisk.workflow.run_directory import RunDirectory
from tests.online.bare import bare
from tests.online.overlay_world import NAME, World, world_of
from tests.refusals import raises

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with bare(tmp_path) as (guest, machine):
        yield world_of(guest, machine)


def no_answer() -> None:
    raise OSError("the guest cannot be thawed")


def test_a_stop_just_after_the_first_overlay_leaves_the_guest_on_it(world: World) -> None:
    run_ = world.engine(lambda: world.stop.request("SIGINT"))
    with pytest.raises(StoppedWithoutSnapshots, match="SIGINT"):
        run_.advance()
    assert run_.state.status is RunStatus.UNFINISHED
    assert world.written_to.parent == world.folder
    assert world.written_to.exists()


def test_a_failure_just_after_the_first_overlay_leaves_the_guest_on_it(world: World) -> None:
    run_ = world.engine(no_answer)
    with pytest.raises(StoppedWithoutSnapshots, match="thawed"):
        run_.advance()
    assert run_.state.status is RunStatus.UNFINISHED
    assert world.written_to.exists()


def test_a_rollback_of_a_run_that_died_there_is_refused_and_it_can_be_gone_on_with(
    world: World,
) -> None:
    with pytest.raises(StoppedWithoutSnapshots):
        world.engine(no_answer).advance()
    with pytest.raises(NothingToRestore):
        world.engine().roll_back()
    assert world.written_to.exists()
    assert world.engine().advance().status is RunStatus.DONE
    assert world.written_to == world.worker.path
    assert list(world.folder.glob("*.qcow2")) == []


def test_a_failure_before_the_overlay_is_under_the_guest_is_taken_back(world: World) -> None:
    world.stop.request("SIGINT")
    with raises("stopped-and-restored"):
        world.engine().advance()
    assert world.written_to == world.worker.path
    assert list(world.folder.glob("*.qcow2")) == []


def test_no_overlay_is_removed_while_qemu_has_it_open_for_anything(world: World) -> None:
    """As below another node, or as the target of a job."""
    store, machine = world.store(), world.worker.machine
    store.take(NAME)
    overlay = world.written_to
    with raises("overlays-need-rest"):
        store.discard()
    store.commit()
    assert not overlay.exists()

    create(overlay, world.worker.disk.size)
    options = {"driver": "qcow2", "file": {"driver": "file", "filename": str(overlay)}}
    machine.monitor.execute("blockdev-add", node_name="of-others", read_only=True, **options)
    for action in (store.discard, lambda: store.take(NAME)):
        with raises("overlays-need-rest"):
            action()
        assert overlay.exists()
    machine.monitor.execute("blockdev-del", node_name="of-others")
    store.discard()
    assert not overlay.exists()


def test_no_overlay_is_removed_if_qemu_cannot_be_asked(world: World) -> None:
    store = world.store()
    store.take(NAME)
    overlay = world.written_to
    world.guest.pull_the_plug()
    with raises("overlays-need-rest"):
        store.discard()
    assert overlay.exists()


def test_the_image_below_an_overlay_of_a_running_guest_cannot_be_opened_to_write(
    world: World,
) -> None:
    """So the way for guests that are off is closed, even if QEMU is not found."""
    world.store().take(NAME)
    with pytest.raises(ImageInUse):
        RawFile.open(world.worker.path, writable=True)


def test_the_folder_of_a_run_is_not_put_away_while_a_guest_writes_to_an_overlay_in_it(
    world: World,
) -> None:
    """The journal says that it is undone, wrongly."""
    directory = RunDirectory.of(world.worker.path)
    journal = directory.begin(b"{}")
    journal.append(JournalRecord(Event.BEGIN))
    world.store().take(NAME)
    journal.append(JournalRecord(Event.UNDONE))
    overlay = world.written_to
    directory.put_away()
    assert overlay.exists()
    world.store().commit()
    directory.put_away()
    assert not directory.path.exists()
