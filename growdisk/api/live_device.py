"""A running guest whose disk is a block device of this host: what the host has added, and what it could add."""

from __future__ import annotations

from growdisk.api.live_session import InspectedGuest
from growdisk.fast_dataclass import replace
from growdisk.host.free_space import room_for
from growdisk.planner.goal import Goal
from growdisk.planner.plan import Plan
from growdisk.steps.live_steps import LiveResize
from growdisk.units import SizeSpec, align_down


def with_device(looked: InspectedGuest, goal: Goal) -> tuple[InspectedGuest, Goal]:
    """QEMU is not told that its device has grown: without a size, the goal becomes what the device has now.

    Where the goal is more than that, the facts get the storage below it, which must grow first.
    """
    path, image = looked.reached.path, looked.facts.image
    if image.format != "raw" or not path.is_block_device():
        return looked, goal
    present = room_for(path).device_size or image.virtual_size
    if goal.size is None:
        whole = align_down(present, goal.sector_size)
        return looked, replace(goal, size=SizeSpec(whole, relative=False)) if whole > image.virtual_size else goal
    if goal.size.resolve(image.virtual_size) <= present:
        return looked, goal
    from growdisk.storage.look import look_at_storage

    facts = replace(looked.facts, image=replace(image, storage=look_at_storage(path)))
    return replace(looked, facts=facts), goal


def refuse_full_storage(plan: Plan, looked: InspectedGuest) -> None:
    """StorageFull, StorageRefuses: where the host's storage has not what the plan needs."""
    for step in plan.steps:
        if isinstance(step, LiveResize) and step.storage is not None:
            from growdisk.storage.growing import refuse_without_room

            refuse_without_room(looked.reached.path, step.storage, step.new_size)
