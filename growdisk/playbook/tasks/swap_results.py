"""Which swap spaces a new table removes or moves: for the tasks after rewrite_partitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from growdisk.fast_dataclass import asdict
from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.partitions.table import Partition, PartitionTable
from growdisk.steps.guest_steps import RemakeSwap, RepairGuest
from growdisk.steps.registry import DiskStep
from growdisk.steps.step_traits import of_kind
from growdisk.steps.table_steps import RewritePartitions

Named = Mapping[int, tuple[str, str]]
"""UUID and label of the swap on each partition that has some."""


def swaps_in(steps: Iterable[DiskStep]) -> dict[str, object]:
    """What the later steps of the whole job would do about swap and other removed partitions."""
    gone, moved, systems = [], [], list[str]()
    for step in steps:
        if isinstance(step, RepairGuest):
            gone += [partition_result(part) for part in (*step.swaps, *step.gone)]
            systems = [step.system, *step.others]
        if isinstance(step, RemakeSwap):
            moved += [asdict(space) for space in step.swaps]
    return {"gone_swaps": gone, "moved_swaps": moved, "guest_systems": systems}


def partition_result(part: RemovedPartition) -> dict[str, object]:
    """What a partition may be named by, without what is not there."""
    left_out = ("stems", "is_swap")
    shown = {name: word for name, word in asdict(part).items() if word and name not in left_out}
    return shown if part.is_swap else shown | {"is_swap": False}


def swaps_between(steps: Iterable[DiskStep], swaps: Named) -> dict[str, object]:
    """gone_swaps and moved_swaps, as repair_guest and remake_swap take them."""
    gone, moved = [], []
    for step in of_kind(RewritePartitions, steps):
        for old in (part for part in step.before.partitions if part.number in swaps):
            new = step.after.by_number(old.number)
            uuid, label = swaps[old.number]
            if new is None:
                gone.append(_identity(old, step.before, uuid, label))
            # Same number, another place: it was moved. Its content is not copied but made again.
            elif new.start != old.start:
                space = {"number": new.number, "start": new.start, "size": new.size}
                moved.append({**space, "uuid": uuid, "label": label})
    return {"gone_swaps": gone, "moved_swaps": moved}


def _identity(part: Partition, table: PartitionTable, uuid: str, label: str) -> dict[str, object]:
    removed = RemovedPartition(part.number, uuid, label, table.partuuid(part), part.name)
    return partition_result(removed)
