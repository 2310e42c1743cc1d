"""Swap and the guest's files on a disk at rest: each step alone, by foreign judges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from growdisk.api.disks import inspect
from growdisk.errors import error_id
from growdisk.planner.goal import Goal, SwapPolicy
from growdisk.planner.planner import propose
from growdisk.planner.proposal import Proposal
from growdisk.steps.disk import Disk
from growdisk.steps.guest_steps import MakeSwapFile, RemakeSwap, RepairGuest
from growdisk.steps.registry import DiskStep
from growdisk.steps.run_backend import RunBackend
from growdisk.steps.step_traits import first
from growdisk.steps.worker_at_rest import WorkerAtRest
from growdisk.units import parse_size
from growdisk.workflow.step import AlreadyDone, Blocked, Evidence, Ready
from growdisk.workflow.stopping import StopRequest
from tests.conftest import DiskMaker
from tests.e2e.process import need
from tests.guests.content import Entry
from tests.guests.small import SWAP_UUID, SmallDisk
from tests.guests.tools import run
from tests.refusals import raises


@pytest.fixture(autouse=True)
def _tools() -> None:
    need("direct")


@contextmanager
def before_the_last_steps(
    image: Path, swap: SwapPolicy
) -> Iterator[tuple[WorkerAtRest, tuple[DiskStep, ...]]]:
    """A worker on the classic guest that has grown, and the steps of swap and repair."""
    proposal = propose(inspect(image), Goal(parse_size("+64M"), swap=swap))
    assert isinstance(proposal, Proposal)
    with closing(Disk.open(image, "qcow2")) as disk:
        disk.activate(disk.base(writable=True))
        worker = WorkerAtRest(disk, RunBackend(disk, StopRequest(), kind="direct"), image)
        last = [step for step in proposal.steps if step.swap_actions or step.changes_guest]
        for step in proposal.steps:
            if step not in last:
                step.apply(worker)
        yield worker, tuple(last)
        worker.run_backend.close()


def content_of(worker: WorkerAtRest, number: int, folder: Path) -> Path:
    table = worker.table(512)
    part = table.by_number(number) if table else None
    assert part is not None
    copy = folder / "partition"
    copy.write_bytes(worker.disk.read(part.start, part.size))
    return copy


def test_swap_that_moved_has_its_uuid_again(small_disk: DiskMaker, tmp_path: Path) -> None:
    with before_the_last_steps(small_disk(), "move") as (worker, steps):
        step = first(RemakeSwap, steps)
        assert step is not None and step.check(worker) == Ready()
        with raises("promise-broken", match=SWAP_UUID):
            step.verify(worker, Evidence(""))
        evidence = step.apply(worker)
        step.verify(worker, evidence)
        assert evidence.detail == step.describe()
        assert step.check(worker) == AlreadyDone("the swap is there")
        number = step.swaps[0].number
        judged = run("blkid", "-p", "-o", "export", content_of(worker, number, tmp_path))
    assert "TYPE=swap" in judged and f"UUID={SWAP_UUID}" in judged


def test_a_swap_file_is_made_and_named_and_nothing_waits_for_the_partition(
    small_disk: DiskMaker, tmp_path: Path
) -> None:
    with before_the_last_steps(small_disk(), "file") as (worker, steps):
        making, repair = first(MakeSwapFile, steps), first(RepairGuest, steps)
        assert making is not None and repair is not None
        assert making.check(worker) == Ready()
        making.verify(worker, making.apply(worker))
        assert making.check(worker) == AlreadyDone("/swapfile is there")
        assert repair.check(worker) == Ready()
        with raises("promise-broken", match="/etc/fstab"):
            repair.verify(worker, Evidence(""))
        evidence = repair.apply(worker)
        assert "/etc/fstab" in evidence.detail
        repair.verify(worker, evidence)
        root = content_of(worker, repair.swaps[0].number - 4, tmp_path)
    fstab = run("debugfs", "-R", "cat /etc/fstab", root)
    assert "/swapfile" in fstab and SWAP_UUID not in fstab
    assert "TYPE=swap" in run("blkid", "-p", "-o", "export", dumped(root, "/swapfile", tmp_path))


def dumped(root: Path, path: str, folder: Path) -> Path:
    run("debugfs", "-R", f"dump {path} {folder / 'dumped'}", root)
    return folder / "dumped"


def test_a_file_in_its_place_that_is_no_swap_is_noticed(small_disk: DiskMaker) -> None:
    other = SmallDisk(extra_files=(Entry("swapfile", b"a diary " * 1024),))
    with before_the_last_steps(small_disk("other.qcow2", other), "file") as (worker, steps):
        making = first(MakeSwapFile, steps)
        assert making is not None and making.check(worker) == Ready()
        with raises("promise-broken", match="no swap signature"):
            making.verify(worker, Evidence(""))


class NoSystem:
    """A view of a disk on which no guest's system is found."""

    @property
    def in_guest(self) -> NoSystem:
        return self

    def swap_file_uuid(self, system: str) -> str | None:
        return None


def test_without_a_system_there_is_no_place_for_a_swap_file() -> None:
    found = MakeSwapFile("/dev/sda1", 1 << 20, "").check(NoSystem())
    assert isinstance(found, Blocked) and error_id(found.error) == "no-guest-system"
