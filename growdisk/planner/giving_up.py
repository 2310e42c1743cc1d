"""Whether swap may be given up: only if the guest was seen, and every place that names it can be changed.

Otherwise the default becomes to move it: same UUID, label and number, so that nothing in the guest has to change. What
was asked for in so many words is done, with a warning that names what will wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from growdisk.fast_dataclass import replace
from growdisk.filesystems.btrfs_tree import BtrfsTree
from growdisk.guest_systems.home_repair import GuestSeen, HomeRepair
from growdisk.guest_systems.look import Look
from growdisk.planner.facts import Facts
from growdisk.planner.failures import CannotGrow, OptionUnsupported
from growdisk.planner.goal import Goal
from growdisk.planner.planner import AllDone, PlanFunction, Proposal
from growdisk.steps.registry import DiskStep
from growdisk.steps.remake_swap import MakeSwapFile
from growdisk.steps.repair_guest import RepairGuest

_SIX = 6


def proposed_with_guest(
    proposer: PlanFunction, facts: Facts, goal: Goal, look: Callable[[], Look]
) -> Proposal | AllDone:
    """What `proposer` proposes, as far as the guest allows it; `look` is asked only if something of it is given up."""
    proposal = proposer(facts, goal)
    if isinstance(proposal, AllDone) or not _in_guest(proposal):
        return proposal
    seen = look()
    proposal = _at_home(proposal, seen)
    _refuse_homeless_swap_file(facts, proposal, seen)
    proposal = replace(proposal, notes=(*proposal.notes, *_notes_on_swap_file(proposal, seen)))
    repair = next((step for step in proposal.steps if isinstance(step, RepairGuest)), None)
    if repair is None:
        return replace(proposal, guest=GuestSeen(seen))
    guest = GuestSeen.by(seen, repair.system, repair.decisions())
    reasons = guest.obstacles()
    if reasons and repair.swaps and goal.swap is None and not repair.gone:
        return _moved(proposer, facts, goal, reasons, guest.repairs)
    return replace(proposal, notes=(*proposal.notes, *_warnings(repair, reasons)), guest=guest)


def _in_guest(proposal: Proposal) -> bool:
    return any(isinstance(step, RepairGuest | MakeSwapFile) for step in proposal.steps)


def _moved(
    proposer: PlanFunction, facts: Facts, goal: Goal, reasons: Sequence[str], repairs: Sequence[HomeRepair]
) -> Proposal | AllDone:
    """Instead of giving it up."""
    try:
        moved = proposer(facts, replace(goal, swap="move"))
    except CannotGrow as error:
        hint = f"{error.hint}; --swap drop gives it up all the same" if error.hint else "--swap drop gives it up"
        raise replace(error, reason=f"{error.reason}; swap is not given up, since {reasons[0]}", hint=hint) from error
    if isinstance(moved, AllDone):
        return moved
    named = list(dict.fromkeys(change.path for repair in repairs for change in repair.changes if change.mended))
    names = f" (it stays named in {_short(named)})" if named else ""
    note = f"swap is moved, not given up{names}: {'; '.join(reasons)}; --swap drop gives it up all the same"
    return replace(moved, notes=(*moved.notes, note))


def _warnings(repair: RepairGuest, reasons: Sequence[str]) -> Iterator[str]:
    gone = ", ".join(dict.fromkeys(f"sda{part.number}" for part in (*repair.swaps, *repair.gone)))
    for reason in reasons:
        yield f"WARNING: {gone} is given up, and the next boot may wait for it: {reason}"


def _short(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _SIX} more" if len(paths) > _SIX + 2 else ""
    return ", ".join(paths[: _SIX if more else len(paths)]) + more


def _at_home(proposal: Proposal, seen: Look) -> Proposal:
    """With the guest's system where it was seen, if that is not what grows."""
    nodes = [home.root.node for home in seen.systems]

    def found(step: DiskStep) -> DiskStep:
        if isinstance(step, RepairGuest | MakeSwapFile) and nodes and step.system not in nodes:
            return replace(step, system=nodes[0])
        return step

    return replace(proposal, steps=tuple(map(found, proposal.steps)))


def _notes_on_swap_file(proposal: Proposal, seen: Look) -> Iterator[str]:
    nodes = {step.system for step in proposal.steps if isinstance(step, MakeSwapFile)}
    for home in seen.systems:
        if home.root.node in nodes and isinstance(home.paths.root.tree, BtrfsTree):
            yield (
                "btrfs makes no snapshot of the root's subvolume while a swap file in it is on (snapper, timeshift): "
                "--swap move keeps a partition instead"
            )


def _refuse_homeless_swap_file(facts: Facts, proposal: Proposal, seen: Look) -> None:
    for step in proposal.steps:
        if isinstance(step, MakeSwapFile) and step.system not in [home.root.node for home in seen.systems]:
            raise OptionUnsupported(
                facts.image.path, option="--swap file",
                reason=f"no guest's system can be seen in {step.system.removeprefix('/dev/')}",
                hint="keep the swap partition: --swap move",
            )  # fmt: skip
