"""Each step alone, on a disk at rest: what it finds, does and refuses, by foreign judges."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.errors import error_id
from growdisk.fast_dataclass import replace
from growdisk.partitions.table import PartitionTable
from growdisk.steps.disk import Disk
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.resize_image import ResizeImage
from growdisk.steps.run_backend import RunBackend
from growdisk.steps.table_steps import RereadPartitions, RewritePartitions
from growdisk.steps.worker_at_rest import WorkerAtRest
from growdisk.units import MiB
from growdisk.workflow.step import AlreadyDone, Blocked, Ready
from growdisk.workflow.stopping import StopRequest
from tests.e2e.process import need
from tests.guests.tools import run
from tests.refusals import raises

UUID = "5e1f0c1d-0000-4000-8000-0000000016aa"
OLD, NEW, START = 40 * MiB, 72 * MiB, 1 * MiB


@pytest.fixture(params=["raw", "qcow2"])
def image(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """40 MiB: a GPT with one ext4 of 32 MiB."""
    raw = tmp_path / "disk.raw"
    run("truncate", "-s", str(OLD), raw)
    run(
        "sfdisk", "-q", "--no-reread", raw, stdin="label: gpt\nstart=2048, size=65536, type=linux\n"
    )
    run("mke2fs", "-q", "-F", "-t", "ext4", "-U", UUID, "-E", f"offset={START}", raw, "32m")
    if request.param == "raw":
        return raw
    run("qemu-img", "convert", "-O", "qcow2", raw, tmp_path / "disk.qcow2")
    return tmp_path / "disk.qcow2"


@pytest.fixture
def context(image: Path) -> Iterator[WorkerAtRest]:
    with closing(Disk.open(image, "raw" if image.suffix == ".raw" else "qcow2")) as disk:
        disk.activate(disk.base(writable=True))
        run_backend = RunBackend(disk, StopRequest(), kind="direct")
        yield WorkerAtRest(disk, run_backend, image)
        run_backend.close()


def table_of(context: WorkerAtRest) -> PartitionTable:
    table = context.table(512)
    assert table is not None
    return table


def enlarged(context: WorkerAtRest) -> RewritePartitions:
    """The step that gives the one partition all of the grown disk but its last MiB."""
    before = table_of(context).with_disk_size(NEW)
    part = before.partitions[0]
    return RewritePartitions(before, replace(before, partitions=(replace(part, end=NEW - MiB),)))


def grown(context: WorkerAtRest) -> GrowFilesystem:
    return GrowFilesystem(1, START, NEW - START - MiB, UUID, 32 * MiB, NEW - START - MiB)


def test_the_disk_is_as_large_as_qemu_says_afterwards(image: Path, context: WorkerAtRest) -> None:
    step = ResizeImage(OLD, NEW)
    assert step.check(context) == Ready()
    step.verify(context, step.apply(context))
    assert isinstance(step.check(context), AlreadyDone)
    told = json.loads(run("qemu-img", "info", "-U", "--output=json", image))
    assert told["virtual-size"] == NEW


def test_new_space_that_is_not_empty_is_found(context: WorkerAtRest) -> None:
    step = ResizeImage(OLD, NEW)
    evidence = step.apply(context)
    context.disk.write(NEW - 512, b"\1" * 512)
    with raises("promise-broken", match="old bytes"):
        step.verify(context, evidence)


def test_a_disk_that_did_not_get_its_size_is_found(context: WorkerAtRest) -> None:
    evidence = ResizeImage(OLD, NEW - MiB).apply(context)
    with raises("promise-broken"):
        ResizeImage(OLD, NEW).verify(context, evidence)


def test_the_table_is_as_sfdisk_reads_it_afterwards(context: WorkerAtRest, tmp_path: Path) -> None:
    ResizeImage(OLD, NEW).apply(context)
    step = enlarged(context)
    step.verify(context, step.apply(context))
    assert isinstance(step.check(context), AlreadyDone)
    copy = tmp_path / "copy"
    copy.write_bytes(context.disk.read(0, NEW))
    parts = json.loads(run("sfdisk", "--json", copy))["partitiontable"]["partitions"]
    assert [(part["start"], part["size"]) for part in parts] == [(2048, (NEW - START - MiB) // 512)]


def test_a_table_that_somebody_has_changed_meanwhile_is_left_alone(context: WorkerAtRest) -> None:
    ResizeImage(OLD, NEW).apply(context)
    step = enlarged(context)
    other = replace(step.before, partitions=(replace(step.before.partitions[0], end=16 * MiB),))
    found = replace(step, before=other).check(context)
    assert isinstance(found, Blocked) and error_id(found.error) == "table-changed"


def test_another_reader_must_see_the_planned_table(context: WorkerAtRest) -> None:
    need("direct")
    ResizeImage(OLD, NEW).apply(context)
    step = enlarged(context)
    too_early = RereadPartitions(step.after)
    with raises("promise-broken"):
        too_early.verify(context, too_early.apply(context))
    step.apply(context)
    too_early.verify(context, too_early.apply(context))


def test_the_file_system_fills_its_partition_and_e2fsck_likes_it(
    context: WorkerAtRest, tmp_path: Path
) -> None:
    need("direct")
    ResizeImage(OLD, NEW).apply(context)
    enlarged(context).apply(context)
    step = grown(context)
    assert step.check(context) == Ready()
    assert not step.has_begun(context)
    step.verify(context, step.apply(context))
    assert isinstance(step.check(context), AlreadyDone)
    assert step.has_begun(context)
    copy = tmp_path / "copy"
    copy.write_bytes(context.disk.read(START, step.size))
    run("e2fsck", "-f", "-n", copy)
    assert f"Block count:              {step.new_size // 1024}" in run("dumpe2fs", "-h", copy)


def test_a_file_system_that_has_become_larger_than_planned_is_not_made_smaller(
    context: WorkerAtRest,
) -> None:
    step = GrowFilesystem(1, START, 32 * MiB, UUID, 16 * MiB, 24 * MiB)
    assert isinstance(step.check(context), AlreadyDone)


def test_a_file_system_that_was_made_anew_meanwhile_is_left_alone(context: WorkerAtRest) -> None:
    ResizeImage(OLD, NEW).apply(context)
    found = replace(grown(context), uuid=UUID.replace("aa", "bb")).check(context)
    assert isinstance(found, Blocked) and error_id(found.error) == "filesystem-changed"
