"""The lock on the folder of a run whose image QEMU has locked."""

from __future__ import annotations

from pathlib import Path

from growdisk.api.running import locked
from growdisk.workflow.run_directory import RunDirectory
from tests.refusals import raises


def test_one_growdisk_at_a_time_works_on_the_run_of_a_running_guest(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "guest.raw")
    with locked(directory), raises("run-going-on"), locked(directory):
        pass
    with locked(directory):
        pass


def test_a_lock_on_a_folder_that_was_removed_keeps_nobody_out(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "guest.raw")
    with locked(directory):
        directory.path.rmdir()
        with locked(directory):
            assert directory.path.is_dir()
