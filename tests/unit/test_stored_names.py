"""Names that stand in files and answers: they stay when classes are tidied."""

from __future__ import annotations

import inspect

import pytest

from growdisk.api.result import StepReport
from growdisk.planner.layout import ImageLayout, Layout, PartitionLayout, VolumeLayout
from growdisk.playbook.checkpoints import TaskCheckpoint
from growdisk.playbook.reports import HostReport, TaskReport
from growdisk.playbook.task_run import FinishedTask
from growdisk.workflow.journal import JournalRecord

FIELDS = {
    JournalRecord: "event step detail seconds facts time",
    TaskCheckpoint: "image run size made",
    FinishedTask: "reports registered facts",
    HostReport: "host result code tasks facts error",
    TaskReport: "play task action state message seconds item result diff error code",
    StepReport: "name state seconds detail",
    Layout: "image table partitions volumes free blockers",
    ImageLayout: "path format virtual_size actual_size snapshots backing",
    PartitionLayout: "number name start size role type bootable content",
    VolumeLayout: "name holder kind size content",
}


@pytest.mark.parametrize("stored", FIELDS)
def test_the_fields_of_what_is_stored_keep_their_names(stored: type) -> None:
    bases = reversed(stored.__mro__)
    names = [name for base in bases for name in inspect.get_annotations(base)]
    assert names == FIELDS[stored].split()
