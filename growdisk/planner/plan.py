"""A plan as it is carried out and written down: `plan.json` beside the image, so that another process can go on."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from growdisk.backends.json_values import Raw, decoded, encoded, encoded_lines
from growdisk.errors import ImageUnsupported, shell_word
from growdisk.planner.backend_choice import GUESTFS, Choice
from growdisk.planner.facts import Facts
from growdisk.planner.failures import OptionUnsupported
from growdisk.planner.goal import Goal, RunOptions, SnapshotMode
from growdisk.planner.layout import Layout, layout_of
from growdisk.planner.moves import is_repeatable
from growdisk.planner.planner import Proposal
from growdisk.planner.way import Way
from growdisk.steps.registry import STEP_KINDS, DiskStep, LiveStep
from growdisk.steps.rewrite_partitions import RewritePartitions

_LEAST_REFCOUNT_BITS = 8  # five snapshots and the disk itself, and the user's own snapshots beside them


@dataclass(frozen=True)
class Plan:
    """One run, from beginning to end. Of a running guest: `way` says how it is reached."""

    run: str
    backend: Literal["guestfs", "uml", "direct", "online"]
    snapshots: SnapshotMode
    keep: bool
    before: Layout
    after: Layout
    steps: tuple[DiskStep | LiveStep, ...]
    given_up: tuple[str, ...]
    way: Way | None = None
    notes: tuple[str, ...] = ()
    backend_reason: str = ""

    @property
    def sector_size(self) -> int:
        """The disk's logical one, which no image records."""
        tables = [step.before for step in self.steps if isinstance(step, RewritePartitions)]
        return tables[0].sector_size if tables else 512


@dataclass(frozen=True)
class _WrittenStep:
    kind: str
    fields: Raw


@dataclass(frozen=True)
class _WrittenPlan:
    run: str
    backend: Literal["guestfs", "uml", "direct", "online"]
    snapshots: SnapshotMode
    keep: bool
    before: Layout
    after: Layout
    steps: tuple[_WrittenStep, ...]
    given_up: tuple[str, ...]
    way: Way | None = None
    notes: tuple[str, ...] = ()
    backend_reason: str = ""


def make_plan(facts: Facts, proposal: Proposal, goal: Goal, options: RunOptions, choice: Choice = GUESTFS) -> Plan:
    """Decide how the proposal is carried out. OptionUnsupported where the image does not allow it."""
    _refuse_preallocation(facts, goal)
    mode = _snapshot_mode(facts, options)
    if mode == "none":
        _refuse_moves_without_a_way_back(facts.image.path, proposal)
    return Plan(
        run=new_run_name(), backend=choice.backend, snapshots=mode, keep=options.keep,
        before=layout_of(facts), after=layout_of(proposal.after), steps=proposal.steps, given_up=proposal.given_up,
        notes=proposal.notes, backend_reason=choice.reason,
    )  # fmt: skip


def encode_plan(plan: Plan) -> bytes:
    steps = tuple(_WrittenStep(type(step).__name__, Raw(encoded(step))) for step in plan.steps)
    written = _WrittenPlan(
        plan.run, plan.backend, plan.snapshots, plan.keep, plan.before, plan.after, steps, plan.given_up, plan.way,
        plan.notes, plan.backend_reason,
    )  # fmt: skip
    return encoded_lines(written)


def decode_plan(text: bytes) -> Plan:
    """The plan again. NotThatValue (a ValueError) where the text is not one."""
    written = decoded(text, _WrittenPlan)
    steps = tuple(decoded(step.fields, STEP_KINDS[step.kind]) for step in written.steps)
    return Plan(
        written.run, written.backend, written.snapshots, written.keep, written.before, written.after, steps,
        written.given_up, written.way, written.notes, written.backend_reason,
    )  # fmt: skip


def new_run_name() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _snapshot_mode(facts: Facts, options: RunOptions) -> SnapshotMode:
    image = facts.image
    fit = image.version == 3 and image.refcount_bits >= _LEAST_REFCOUNT_BITS
    if options.snapshots == "internal" and not fit:
        reason = "raw images have no snapshots" if image.version is None else "only qcow2 v3 keeps a snapshot's size"
        if image.version == 3:
            reason = f"its refcounts of {image.refcount_bits} bits leave no room for them"
        raise OptionUnsupported(image.path, option="--snapshots internal", reason=reason, hint="leave the option out")
    mode: SnapshotMode = ("internal" if fit else "overlay") if options.snapshots == "auto" else options.snapshots
    if image.version == 2 and image.snapshots:
        raise ImageUnsupported(
            image.path,
            reason="it is a qcow2 image of version 2 with snapshots, and that version does not record their size",
            hint=f"make it version 3 (qemu-img amend -f qcow2 -o compat=1.1 {shell_word(image.path)}), or delete them",
        )  # fmt: skip
    return mode


def _refuse_moves_without_a_way_back(path: Path, proposal: Proposal) -> None:
    for step in proposal.steps:
        if isinstance(step, RewritePartitions) and not is_repeatable(step.before, step.moves):
            raise OptionUnsupported(
                path, option="--snapshots none", hint="leave the option out, or grow the disk by more",
                reason="a partition moves by less than its own size: stopped half-way, it would be lost",
            )  # fmt: skip


def _refuse_preallocation(facts: Facts, goal: Goal) -> None:
    allowed = ("off", "falloc") if facts.image.format == "raw" else ("off",)
    if goal.preallocation not in allowed:
        raise OptionUnsupported(
            facts.image.path, option=f"--preallocation {goal.preallocation}",
            reason=f"{facts.image.format} images are grown here with: {', '.join(allowed)}",
            hint="leave the option out: space is then taken as the guest fills it",
        )  # fmt: skip
