"""What planning ends with: a proposal, or that every layer is as wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from growdisk.fast_dataclass import dataclass, field
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal
from growdisk.planner.host_need import NOTHING, HostWrites
from growdisk.steps.registry import DiskStep


@dataclass(frozen=True)
class GuestSeen:
    """What the guest's own files say of what is given up.

    `systems` are devices with a system's root, some `on_btrfs`; `no_swap_file`: why some of the
    roots cannot have one.

    `obstacles`: why what is gone might still be waited for after the repair. `named`: files that
    name it, and are mended. `closed`: why this machine's own tools cannot write there; "" if they
    can. `snapshots`: of systems, in which it stays named.
    """

    systems: tuple[str, ...] = ()
    on_btrfs: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    closed: str = ""
    no_swap_file: Mapping[str, str] = field(default_factory=dict)
    snapshots: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """What would be done: the steps, the facts as they will be, and what is given up for it.

    `guest` is what was seen of the guest's files, if something in them has to change.
    """

    steps: tuple[DiskStep, ...]
    after: Facts
    given_up: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    guest: GuestSeen | None = field(default=None, repr=False, compare=False)
    host_writes: HostWrites = NOTHING


@dataclass(frozen=True)
class GoalReached:
    """Every layer is as wanted."""

    reason: str


PlanFunction = Callable[[Facts, Goal], Proposal | GoalReached]
