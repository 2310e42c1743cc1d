"""File names may be any bytes: a run writes them down, and reads them again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from growdisk import api
from growdisk.workflow.journal import Event, Journal, JournalRecord, read_journal
from tests.conftest import DiskMaker
from tests.e2e.judges import virtual_size

NAME = os.fsdecode(b"gr\xf6sser")


@pytest.mark.parametrize("image_format", ["qcow2", "raw"])
def test_an_image_and_its_snapshot_are_grown_and_rolled_back(
    small_disk: DiskMaker, image_format: str
) -> None:
    disk = small_disk(f"{NAME}.qcow2")
    if image_format == "qcow2":
        snapshot = [b"qemu-img", b"snapshot", b"-c", os.fsencode(NAME), os.fsencode(disk)]
        subprocess.run(snapshot, check=True)
    else:
        raw = disk.with_suffix(".raw")
        subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
        disk = raw
    before = virtual_size(disk)
    kept = api.RunOptions(keep=True)
    assert api.expand(disk, api.Goal(api.parse_size("+64M")), kept).result == "changed"
    assert api.status(disk).state == "kept"
    api.rollback(disk)
    assert virtual_size(disk) == before


def test_a_journal_that_quotes_such_a_name_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).append(JournalRecord(Event.FAILED, "a", f"größer: {NAME}"))
    assert [record.detail for record in read_journal(path)] == [f"größer: {NAME}"]
    path.read_bytes().decode()
