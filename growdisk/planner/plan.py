"""A plan as it is carried out and stored: `plan.json`, from which another process can continue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from growdisk.errors import ImageUnsupported, shell_word
from growdisk.fast_dataclass import dataclass, replace
from growdisk.guest_scripts.script_plan import GuestPlan
from growdisk.host.json_codec import NotThatValue, converted, encoded_lines
from growdisk.planner.backend_choice import GUESTFS, Choice
from growdisk.planner.extra_disks import ExtraDiskPlan, notes
from growdisk.planner.facts import Facts, ImageFacts
from growdisk.planner.goal import Goal, RunOptions, SnapshotMode
from growdisk.planner.layout import Layout, layout_of
from growdisk.planner.moves import is_repeatable
from growdisk.planner.proposal import Proposal
from growdisk.planner.refusals import option_unsupported
from growdisk.steps.registry import DiskStep, ExtraDiskStep, in_todays_words, step_of
from growdisk.steps.step_traits import first, of_kind
from growdisk.steps.table_steps import RewritePartitions
from growdisk.steps.worker import BackendKind
from growdisk.units import format_size


@dataclass(frozen=True)
class GuestConnection:
    """To QEMU: `qmp` (a socket), or `domain` at `uri`.

    To the disk: `key` (QEMU's path of the device). Into the guest: `shell`, with `agent` (a socket;
    "" through libvirt) or `ssh` and `ssh_config`. `device` is the disk as the guest names it,
    `guest` what its scripts are made from.
    """

    qmp: str
    domain: str
    uri: str
    key: str
    shell: Literal["agent", "ssh"]
    agent: str
    ssh: str
    ssh_config: str
    device: str
    allow_reboot: bool
    guest: GuestPlan | None = None


# Bytes of L2 tables, as 64 GiB in clusters of 64 KiB have: from there on overlays are done sooner.
_MANY_TABLES = 8 << 20
# A cluster is counted by five snapshots and the disk itself, and by the user's own snapshots.
LEAST_REFCOUNT_BITS = 8


@dataclass(frozen=True)
class ExtraDisk:
    """The image of another disk of the guest, kept and restored with every step; an absolute path.

    `before` and `after` are None if the disk does not grow itself.
    """

    path: str
    format: str
    snapshots: SnapshotMode
    backend: BackendKind = "guestfs"
    before: Layout | None = None
    after: Layout | None = None


@dataclass(frozen=True)
class Plan:
    """One run, from beginning to end. Of a running guest: `way` says how it is reached."""

    run: str
    backend: Literal["guestfs", "uml", "direct", "online"]
    snapshots: SnapshotMode
    keep: bool
    before: Layout
    after: Layout
    steps: tuple[DiskStep | ExtraDiskStep, ...]
    given_up: tuple[str, ...]
    way: GuestConnection | None = None
    notes: tuple[str, ...] = ()
    backend_reason: str = ""
    extra_disks: tuple[ExtraDisk, ...] = ()

    @property
    def own_steps(self) -> tuple[DiskStep, ...]:
        """Those on the first disk."""
        return tuple(step.own for step in self.steps if not step.disk)

    @property
    def sector_size(self) -> int:
        """The disks' logical one, which no image records."""
        rewrite = first(RewritePartitions, (step.own for step in self.steps))
        return rewrite.before.sector_size if rewrite else 512


@dataclass(frozen=True)
class _WrittenStep:
    """`disk` counts the run's disks: 1 is the first extra disk."""

    kind: str
    fields: dict[str, object]
    disk: int = 0


@dataclass(frozen=True)
class _WrittenPlan(Plan):
    steps: tuple[_WrittenStep, ...]  # type: ignore[assignment]


def make_plan(
    run: str,
    facts: Facts,
    proposal: Proposal,
    goal: Goal,
    options: RunOptions,
    choice: Choice = GUESTFS,
    others: Sequence[ExtraDiskPlan] = (),
) -> Plan:
    """Decide how the proposal is carried out; option-unsupported if an image does not allow it.

    `run` is the name of the run.
    """
    _refuse_preallocation(facts, goal)
    # The other disks come last: a failure there still takes everything back, on all disks.
    theirs = (ExtraDiskStep(step, n) for n, other in enumerate(others, 1) for step in other.steps)
    steps = (*proposal.steps, *theirs)
    mode, on_mode = _snapshot_mode(facts.image, options, moves=any(s.moves for s in proposal.steps))
    if mode == "none":
        _refuse_moves_without_snapshots(facts.image.path, steps)
    on_image = facts.image.storage.notes if facts.image.storage else ()
    if padding := facts.image.padding:
        end = f"the file ends {padding} bytes before the end of a sector"
        on_image = (*on_image, f"{end}: the disk has all of it, as for QEMU")
    return Plan(
        run=run,
        backend=choice.backend,
        snapshots=mode,
        keep=options.keep,
        before=layout_of(facts),
        after=layout_of(proposal.after),
        steps=steps,
        given_up=(*proposal.given_up, *(what for other in others for what in other.given_up)),
        notes=(*on_image, *on_mode, *proposal.notes, *notes(others)),
        backend_reason=choice.reason,
        extra_disks=tuple(_extra_disk(other, options) for other in others),
    )


def encode_plan(plan: Plan) -> bytes:
    written = _WrittenPlan(**vars(plan) | {"steps": tuple(map(_written, plan.steps))})
    return encoded_lines(written)


def decode_plan(text: bytes) -> Plan:
    """The plan again. NotThatValue (a ValueError) if the text is not one."""
    try:
        # Not by msgspec: it knows no bytes of a file name that are not text.
        plain = json.loads(in_todays_words(text))
    except (ValueError, RecursionError) as error:
        raise NotThatValue(str(error)) from error
    written = converted(plain, _WrittenPlan)
    steps = tuple(_read(step, written) for step in written.steps)
    return Plan(**vars(written) | {"steps": steps})


def _written(step: DiskStep | ExtraDiskStep) -> _WrittenStep:
    own = step.own
    # What is as usual is left out: reading the plan fills it in by the defaults of the fields.
    usual = own.usual.items()
    fields = {name: value for name, value in vars(own).items() if (name, value) not in usual}
    return _WrittenStep(type(own).__name__, fields, step.disk)


def _read(written: _WrittenStep, plan: _WrittenPlan) -> DiskStep | ExtraDiskStep:
    step = step_of(written.kind, written.fields, plan.way.guest if plan.way else None)
    return ExtraDiskStep(step, written.disk) if written.disk else step


def _extra_disk(other: ExtraDiskPlan, options: RunOptions) -> ExtraDisk:
    image = other.facts.image
    known = ExtraDisk(str(other.path), image.format, _snapshot_mode(image, options)[0])
    if other.proposal is None:
        return known
    before, after = layout_of(other.facts), layout_of(other.proposal.after)
    return replace(known, backend=other.choice.backend, before=before, after=after)


def _snapshot_mode(
    image: ImageFacts, options: RunOptions, *, moves: bool = False
) -> tuple[SnapshotMode, tuple[str, ...]]:
    """With a note on it if it is unexpected; `moves`: whole partitions will be written again."""
    fit = image.version == 3 and image.refcount_bits >= LEAST_REFCOUNT_BITS
    if options.snapshots == "internal" and not fit:
        reason = "only qcow2 v3 keeps a snapshot's size"
        if image.version is None:
            reason = "raw images have no snapshots"
        if image.version == 3:
            reason = f"its refcounts of {image.refcount_bits} bits leave no room for them"
        raise option_unsupported(image.path, "--snapshots internal", reason, "leave the option out")
    # Growing it would leave its snapshots without a size.
    if image.version == 2 and image.snapshots:
        raise ImageUnsupported(
            image.path,
            reason="it is a qcow2 image of version 2 with snapshots, and that version does not "
            "record their size",
            hint="make it version 3 (qemu-img amend -f qcow2 -o compat=1.1 "
            f"{shell_word(image.path)}), or delete them",
        )
    if options.snapshots != "auto":
        return options.snapshots, ()
    # A partition that moves would be written twice: to the overlay, and again to the image.
    if fit and image.tables > _MANY_TABLES and not options.keep and not moves:
        note = (
            "snapshots by overlays: each internal one would have to go through "
            f"{format_size(image.tables)} of tables"
        )
        return "overlay", (note,)
    return "internal" if fit else "overlay", ()


def _refuse_moves_without_snapshots(path: Path, steps: Sequence[DiskStep | ExtraDiskStep]) -> None:
    for step in of_kind(RewritePartitions, (step.own for step in steps)):
        if not is_repeatable(step.before, step.moves):
            raise option_unsupported(
                path,
                option="--snapshots none",
                hint="leave the option out, or grow the disk by more",
                reason="a partition moves by less than its own size: stopped half-way, it would "
                "be lost",
            )


def _refuse_preallocation(facts: Facts, goal: Goal) -> None:
    allowed = (
        ("off", "falloc") if facts.image.format == "raw" and not facts.image.storage else ("off",)
    )
    if goal.preallocation not in allowed:
        option = f"--preallocation {goal.preallocation}"
        reason = f"{facts.image.format} images are grown here with: {', '.join(allowed)}"
        hint = "leave the option out: space is then taken as the guest fills it"
        raise option_unsupported(facts.image.path, option, reason, hint)
