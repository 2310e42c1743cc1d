"""A guest with its plan, for the tests of the guest scripts, and judges of its disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from growdisk.api.disks import inspect
from growdisk.guest_scripts.render import render
from growdisk.guest_scripts.script_plan import GuestPlan
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal, SwapPolicy
from growdisk.planner.guest_plan import guest_plan
from growdisk.planner.planner import propose
from growdisk.planner.proposal import Proposal
from growdisk.units import MiB, parse_size
from tests.guest_scripts.machine import Machine, booted
from tests.guest_scripts.micro import root_files
from tests.guests.content import Entry
from tests.guests.layouts import Layout
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run

RUN = "run-1"
GROWTH = 512 * MiB


@dataclass(frozen=True)
class World:
    """`facts` are those of before."""

    disk: Path
    facts: Facts
    plan: GuestPlan
    scripts: Mapping[str, str]
    bus: str = "scsi"

    @contextmanager
    def booted(self, *, grown: bool = True, keep_size: bool = False) -> Iterator[Machine]:
        """Up; with `grown` the disk is made larger while the guest runs, unless it is already."""
        with booted(self.disk, self.scripts, bus=self.bus, root=self.plan.target) as machine:
            if grown and not keep_size:
                machine.grow_disk(self.facts.image.virtual_size + GROWTH)
            yield machine

    def judge(self) -> None:
        """With the guest off: the table by our reader and sfdisk, the file system by e2fsck."""
        after = inspect(self.disk)
        assert after.table == self.plan.after
        content = after.contents[self.plan.target]
        assert content.uuid == self.plan.filesystem.uuid
        assert content.size == self.plan.filesystem.new_size
        self._judge_by_foreign_tools()

    def judge_untouched(self) -> None:
        after = inspect(self.disk)
        assert after.table is not None
        assert after.table == self.plan.before.with_disk_size(after.table.disk_size)
        self._judge_by_foreign_tools()

    def _judge_by_foreign_tools(self) -> None:
        raw = self.disk.with_suffix(".raw")
        run("qemu-img", "convert", "-O", "raw", self.disk, raw)
        try:
            run("sfdisk", "--verify", raw)
            target = next(
                p for p in inspect(self.disk).table.partitions if p.number == self.plan.target
            )  # type: ignore[union-attr]
            alone = raw.with_suffix(".part")
            run(
                "dd", f"if={raw}", f"of={alone}", "bs=1M", f"skip={target.start // MiB}",
                f"count={target.size // MiB}", "conv=sparse", "status=none",
            )  # fmt: skip
            run("e2fsck", "-f", "-n", alone)
            alone.unlink()
        finally:
            raw.unlink()


def make_world(
    folder: Path,
    tools: Sequence[str],
    *,
    layout: Layout = Layout.CLASSIC,
    swap: SwapPolicy = "drop",
    bus: str = "scsi",
    extra: tuple[Entry, ...] = (),
) -> World:
    disk = make_disk(
        folder / "guest.qcow2", SmallDisk(layout, extra_files=(*root_files(tools), *extra))
    )
    facts = inspect(disk)
    plan = planned(facts, swap)
    return World(disk, facts, plan, render(plan), bus)


def planned(facts: Facts, swap: SwapPolicy) -> GuestPlan:
    proposal = propose(facts, Goal(parse_size("+512M"), swap=swap))
    assert isinstance(proposal, Proposal), proposal
    return guest_plan(RUN, facts, proposal.steps)
