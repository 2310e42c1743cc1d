"""Decides how a proposal is done while the guest runs: steps, snapshots, what cannot be undone.

What QEMU 7.2 allows decides the default: a snapshot with memory needs a qcow2 image of version 3
for the disk that grows, qcow2 for every other disk that is written to, and nothing in the machine
that cannot be migrated.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass, replace
from growdisk.filesystems.content import ExtContent
from growdisk.filesystems.ext_growth import size_in_place
from growdisk.live.live_disk import Arrival, LiveDisk
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal, RunOptions, SnapshotMode
from growdisk.planner.guest_plan import growth_layers, growths_of, guest_plan, kind_of
from growdisk.planner.layout import layout_of
from growdisk.planner.plan import LEAST_REFCOUNT_BITS, GuestConnection, Plan
from growdisk.planner.proposal import Proposal
from growdisk.planner.refusals import option_unsupported
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.registry import DiskStep
from growdisk.steps.step_traits import of_kind
from growdisk.units import format_size

if TYPE_CHECKING:
    from growdisk.host.free_space import HostRoom


@dataclass(frozen=True)
class HostEnvironment:
    """What a live plan depends on besides: the machine's disks, memory (bytes), host space.

    `managed`: by libvirt, which must know of every change of a disk's files. `fixed`: what of the
    machine QEMU cannot put into a snapshot; "" if nothing.
    """

    disk: LiveDisk
    disks: tuple[LiveDisk, ...]
    memory: int
    host: HostRoom
    managed: bool
    fixed: str = ""


def make_live_plan(
    run: str,
    facts: Facts,
    proposal: Proposal,
    goal: Goal,
    options: RunOptions,
    environment: HostEnvironment,
    way: GuestConnection,
) -> Plan:
    """The plan for a running guest; option-unsupported if it cannot be done.

    `run` is the name of the run; `way` comes without the guest plan, which is made here.
    """
    path = facts.image.path
    _refuse_options(facts, goal, options)
    _refuse_fixed_device(facts, proposal, environment)
    restart = _restart(facts, proposal, environment, way)
    mode, reason = _snapshot_mode(facts, options, environment, len(proposal.steps))
    if mode != "internal" and options.keep:
        lost = "a guest that is restarted from its image would lose what is in the overlays"
        hint = "leave it out, or use --snapshots internal"
        if mode == "none":
            lost = f"there is no way back to keep: {reason or 'no snapshots are taken'}"
            hint = "leave it out, or shut the guest down"
        raise option_unsupported(path, "--keep-snapshots", lost, hint)
    _refuse_shape(path, proposal.steps)
    present = environment.host.device_size or 0
    steps = tuple(_running(facts, s, restart=restart, device_size=present) for s in proposal.steps)
    # The guest plan has the run's name: what the scripts answer has to bear it.
    guest = guest_plan(run, facts, proposal.steps, serial=environment.disk.serial, several=True)
    return Plan(
        run=run,
        backend="online",
        snapshots=mode,
        keep=options.keep,
        before=layout_of(facts),
        after=layout_of(proposal.after),
        steps=steps,
        given_up=proposal.given_up,
        way=replace(way, guest=guest),
        notes=tuple(_notes(facts, proposal, environment, mode, reason, restart=restart)),
    )


def _running(facts: Facts, step: DiskStep, *, restart: bool, device_size: int) -> DiskStep:
    if isinstance(step, GrowFilesystem):
        # At rest a plain ext step does not say which ext it is: the scripts have to know.
        step = replace(step, kind=kind_of(facts, step))
    return step.while_running(restart=restart, device_size=device_size)


def _refuse_shape(path: Path, steps: tuple[DiskStep, ...]) -> None:
    """A running guest can grow file systems in partitions that stay where they are."""
    if any(step.moves for step in steps):
        raise _only_at_rest(path, "moving a partition's content")
    if not growths_of(steps):
        raise _only_at_rest(path, "growing a partition without a file system that growdisk knows")
    parts = growth_layers(steps)
    for step in steps:
        # Growth that leads to no file system: the scripts grow layers only on the way to one.
        if step.works_at and step.name not in parts:
            raise _only_at_rest(path, f"{step.describe()}, without a file system in it,")


def _only_at_rest(path: Path, what: str) -> Refused:
    hint = "shut the guest down and run growdisk on the image"
    return option_unsupported(path, "a running guest", f"{what} is only done while it is off", hint)


def _refuse_options(facts: Facts, goal: Goal, options: RunOptions) -> None:
    path = facts.image.path
    if goal.preallocation != "off":
        reason = "QEMU grows the disk of a running guest"
        hint = "leave the option out: space is then taken as the guest fills it"
        raise option_unsupported(path, f"--preallocation {goal.preallocation}", reason, hint)
    if goal.move:
        reason = "a partition can only be moved while nobody uses it"
        hint = "shut the guest down and run growdisk on the image"
        raise option_unsupported(path, "--move", reason, hint)
    if options.backend != "auto":
        reason = "a running guest does the work itself"
        hint = "leave the option out"
        raise option_unsupported(path, f"--backend {options.backend}", reason, hint)


def _refuse_fixed_device(facts: Facts, proposal: Proposal, environment: HostEnvironment) -> None:
    """Refuse a raw block device that is too small: QEMU cannot enlarge it; the host must, first."""
    size, wanted = environment.host.device_size, proposal.after.image.virtual_size
    if (
        # With a storage that growdisk can enlarge, the run does that itself (GrowDevice).
        facts.image.storage is None
        and environment.disk.format == "raw"
        and size is not None
        and wanted > size
    ):
        raise option_unsupported(
            facts.image.path,
            option=f"a size of {format_size(wanted)}",
            reason=f"the image is a block device of {format_size(size)}, which QEMU cannot make "
            "larger",
            hint="make the device larger first (lvextend on the host), then run the same command "
            "again",
        )


def _restart(
    facts: Facts, proposal: Proposal, environment: HostEnvironment, way: GuestConnection
) -> bool:
    """Whether the guest must restart to see its new size; option-unsupported if it must not."""
    bus, path = environment.disk.bus, facts.image.path
    # Nothing to see if the disk keeps its size, or if its bus lets the guest know.
    if not any(step.added for step in proposal.steps) or bus.arrival is Arrival.AT_ONCE:
        return False
    if bus.arrival is Arrival.NEVER:
        reason = f"QEMU does not resize {bus.name} disks while they are in use"
        hint = "shut the guest down and run growdisk on the image"
        raise option_unsupported(path, "a running guest", reason, hint)
    if not way.allow_reboot:
        raise option_unsupported(
            path,
            option="a running guest, without a restart,",
            reason=f"a disk on {bus.name} shows its new size only after the guest has restarted",
            hint="allow one restart with --allow-reboot, or shut the guest down and run growdisk "
            "on the image",
        )
    return True


def _snapshot_mode(
    facts: Facts, options: RunOptions, environment: HostEnvironment, steps: int
) -> tuple[SnapshotMode, str]:
    """The mode, and why, if it was not chosen freely."""
    obstacle = _obstacle(environment, steps)
    match options.snapshots:
        case "auto":
            # Never overlays by default: until they are merged, nobody may start the guest from the
            # image.
            return ("none", obstacle) if obstacle else ("internal", "")
        case "internal" if obstacle:
            hint = (
                f"use --snapshots none{'' if environment.disk.encrypted else ', or overlay'}; or "
                "shut the guest down"
            )
            raise option_unsupported(facts.image.path, "--snapshots internal", obstacle, hint)
        case "overlay" if environment.disk.encrypted:
            reason = "the image is encrypted, and what the guest writes meanwhile would not be"
            hint = "use --snapshots none"
            raise option_unsupported(facts.image.path, "--snapshots overlay", reason, hint)
        case "overlay" if environment.managed:
            reason = "libvirt would not know of the overlays"
            hint = "use --snapshots internal or none"
            raise option_unsupported(facts.image.path, "--snapshots overlay", reason, hint)
    return options.snapshots, ""


def _obstacle(environment: HostEnvironment, steps: int) -> str:
    """Why the machine's memory and disks cannot be put into snapshots; "" if they can."""
    disk = environment.disk
    # Version 2 does not record a snapshot's disk size, and raw has no snapshots.
    if disk.version != 3:
        return (
            f"the image is {'qcow2 version 2' if disk.version else disk.format}, which has no "
            "such snapshots"
        )
    if disk.refcount_bits < LEAST_REFCOUNT_BITS:
        return f"its refcounts of {disk.refcount_bits} bits leave no room for snapshots"
    # QEMU up to 10 at the least: qcow2_co_encdec asserts whole sectors, and the memory has others
    if disk.encrypted:
        return (
            "the image is encrypted, and QEMU ends with an error when it is to write a guest's "
            "memory into such a one"
        )
    written = [other for other in environment.disks if not other.read_only]
    if elsewhere := [other for other in written if other.data_file]:
        return (
            f"its disk {elsewhere[0].names[0]} keeps its data in another file, and has no such "
            "snapshots"
        )
    if environment.fixed:
        return f"QEMU cannot save all of the machine ({environment.fixed})"
    if others := [other for other in written if other.format != "qcow2"]:
        return (
            f"its disk {others[0].names[0]} is {others[0].format}, and would not go back "
            "together with the memory"
        )
    # Each snapshot holds all of the memory, at the worst.
    if environment.host.free < steps * environment.memory:
        room = f"{format_size(environment.host.free)} free {environment.host.where}"
        return (
            f"{steps} snapshots of {format_size(environment.memory)} of memory may not fit into "
            f"the {room}"
        )
    return ""


def _notes(
    facts: Facts,
    proposal: Proposal,
    environment: HostEnvironment,
    mode: SnapshotMode,
    reason: str,
    *,
    restart: bool,
) -> Iterator[str]:
    yield from proposal.notes
    storage = facts.image.storage
    yield from storage.notes if storage else ()
    if restart:
        yield (
            f"the guest restarts once: a disk on {environment.disk.bus.name} does not show a new "
            "size before"
        )
    if mode == "internal":
        yield (
            "each snapshot holds the guest's memory and stops it for as long as that takes; going "
            "back puts it back to that instant: what it did since is lost"
        )
    elif mode == "overlay":
        yield (
            "point of no return for the running guest: resize-image; until the run is done it can "
            "be shut down and taken back by growdisk rollback. Do not restart it from the image "
            "meanwhile: its new data are in overlays"
        )
    else:
        why = f" ({reason})" if reason else ""
        # The guest's own undo (LiveUndo) cannot undo the first growth inside a partition.
        first = next((step.name for step in proposal.steps if step.works_at), "grow-filesystem")
        yield (
            f"no snapshots{why}: until {first} the guest's own undo takes all back; point of no "
            f"return: {first}"
        )
    yield from _gdt_notes(facts, proposal)
    gone = [part.number for step in proposal.steps for part in step.gone]
    if gone:
        names = ", ".join(facts.name_of(number) for number in dict.fromkeys(gone))
        yield (
            f"the guest mends its fstab and crypttab; a unit of systemd that names {names} is "
            "for you to disable"
        )
    grown = proposal.after.image.virtual_size - environment.disk.size
    if storage is None and (grown > environment.host.free or environment.host.nearly_full):
        free = f"{format_size(environment.host.free)} free {environment.host.where}"
        yield (
            f"WARNING: the disk may fill by {format_size(grown)} more than now, and the host "
            f"has {free}"
        )


def _gdt_notes(facts: Facts, proposal: Proposal) -> Iterator[str]:
    """An ext file system that counts its groups in more blocks than were kept free for that."""
    for step in of_kind(GrowFilesystem, proposal.steps):
        content = facts.content_with(step.uuid, step.number)
        if isinstance(content, ExtContent) and step.new_size > size_in_place(content):
            yield (
                f"its {content.kind} has {content.reserved_gdt_blocks} reserved GDT blocks, less "
                "than it needs: mounted, it grows all the same with Linux 3.8 or newer (meta_bg); "
                "an older guest is refused"
            )
