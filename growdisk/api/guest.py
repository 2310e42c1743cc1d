"""What a proposal means for the guest that is on the disk, which is read for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.guest_systems.look import Look, look_at
from growdisk.planner.facts import Facts
from growdisk.planner.giving_up import proposed_with_guest
from growdisk.planner.goal import Goal
from growdisk.planner.planner import AllDone, PlanFunction, Proposal
from growdisk.planner.random_swap import with_random_swap
from growdisk.volumes.keyring import Keyring


def with_guest(
    proposer: PlanFunction, facts: Facts, goal: Goal, device: BlockDevice, keyring: Keyring,
    others: Sequence[tuple[BlockDevice, Path]] = (),
) -> Proposal | AllDone:  # fmt: skip
    """See proposed_with_guest(). `others` are the guest's further disks."""

    return proposed_with_guest(proposer, facts, goal, _look(facts, goal, device, keyring, others))


def as_guest_says(
    facts: Facts, goal: Goal, device: BlockDevice, keyring: Keyring, others: Sequence[tuple[BlockDevice, Path]] = ()
) -> Facts:
    """With what the guest's own files say of partitions that nothing on the disk tells of."""
    return with_random_swap(facts, _look(facts, goal, device, keyring, others))


def _look(
    facts: Facts, goal: Goal, device: BlockDevice, keyring: Keyring, others: Sequence[tuple[BlockDevice, Path]]
) -> Callable[[], Look]:
    return lambda: look_at(device, facts.image.path, goal.sector_size, keyring, others)
