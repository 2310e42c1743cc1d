"""What planning ends with: a proposal, or that every layer is as wanted."""

from __future__ import annotations

from collections.abc import Callable

from growdisk.fast_dataclass import dataclass, field
from growdisk.guest_systems.home_repair import GuestSeen
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal
from growdisk.planner.layers.fills import NOTHING, Fills
from growdisk.steps.registry import DiskStep


@dataclass(frozen=True)
class Proposal:
    """What would be done: the steps, the facts as they will be, and what is given up for it.

    `guest` is where the guest's files were found, if something in them has to change.
    """

    steps: tuple[DiskStep, ...]
    after: Facts
    given_up: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    guest: GuestSeen | None = field(default=None, repr=False, compare=False)
    fills: Fills = NOTHING


@dataclass(frozen=True)
class AllDone:
    """Every layer is as wanted."""

    reason: str


PlanFunction = Callable[[Facts, Goal], Proposal | AllDone]
