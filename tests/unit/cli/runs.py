"""Runs in every state, by the real engine without an appliance; images that show one in a run."""

from __future__ import annotations

import os
import shutil
import signal
import traceback
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from growdisk.api.current_run import CurrentRun, Silent, new_run_name
from growdisk.api.disks import inspect
from growdisk.api.session import Session
from growdisk.planner.goal import Goal, RunOptions
from growdisk.planner.plan import make_plan
from growdisk.planner.planner import propose
from growdisk.planner.proposal import Proposal
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.probe import probe_format
from growdisk.steps.disk import Disk
from growdisk.units import parse_size
from growdisk.workflow.run_directory import RunDirectory
from tests.conftest import Copier
from tests.oracle.qemu import qemu_img


class _Mortal(Silent):
    """The process dies when the step `at` begins."""

    def __init__(self, at: str | None) -> None:
        self._at = at

    def step_started(self, number: int, total: int, name: str, description: str) -> None:
        if name == self._at:
            os._exit(0)


class _Waiting(Silent):
    """The process stops in the step `at`, says so to the pipe `told`, and waits for its end."""

    def __init__(self, at: str, told: int) -> None:
        self._at, self._told = at, told

    def step_started(self, number: int, total: int, name: str, description: str) -> None:
        if name == self._at:
            os.write(self._told, b"x")
            signal.pause()


def waiting_in(image: Path, step: str, told: int) -> None:
    """A run that is going on, in this process."""
    _run(image, _Waiting(step, told), keep=False, size="+64M")


def run_on(
    image: Path, *, keep: bool = False, dies_at: str | None = None, size: str = "+64M"
) -> None:
    """Resize the image and rewrite its table, as far as the run gets, in a process that ends."""
    child = os.fork()
    if child == 0:
        try:
            _run(image, _Mortal(dies_at), keep=keep, size=size)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def _run(image: Path, observer: Silent, *, keep: bool, size: str) -> None:
    goal, facts = Goal(parse_size(size) if size else None), inspect(image)
    proposal = propose(facts, goal)
    assert isinstance(proposal, Proposal)
    plan = make_plan(new_run_name(), facts, proposal, goal, RunOptions(keep=keep))
    plan = replace(plan, steps=plan.steps[:2])
    directory = RunDirectory.of(image)
    with closing(Disk.open(directory.image, probe_format(image))) as disk:
        session = Session.begin(CurrentRun(image, plan, directory, observer), disk)
        with directory.working():
            session.engine.advance()
        session.run.directory.make_room()


def shown_by(folder: Path) -> tuple[Path, Path]:
    """Two images that show guest.raw: an overlay on an overlay, and one with it as data file."""
    names = ("middle.qcow2", "guest.raw", "raw"), ("top.qcow2", "middle.qcow2", "qcow2")
    for name, below, kind in names:
        qemu_img("create", "-q", "-f", "qcow2", "-b", below, "-F", kind, folder / name)
    beside = folder / "beside.qcow2"
    create(beside, 128 << 20, CreateOptions(data_file="empty", data_file_raw=True))
    (folder / "empty").unlink()
    (folder / "empty").symlink_to("guest.raw")
    return folder / "top.qcow2", beside


def travelled(copied: Copier, *, keep: bool, how: str = "moved") -> Path:
    """guest.qcow2 with a run, under another name and without the folder."""
    image = copied("guest.qcow2")
    run_on(image, keep=keep, dies_at=None if keep else "rewrite-partitions")
    there = image.with_name("other.qcow2")
    (shutil.copyfile if how == "copied" else shutil.move)(image, there)
    return there


def snapshots(image: Path) -> list[str]:
    with Qcow2Image.open(image) as opened:
        return [snapshot.name for snapshot in opened.snapshots()]
