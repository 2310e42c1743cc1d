"""--to-gpt: an MBR that becomes a GPT on the way, where nothing starts from the disk; offered where that is of use."""

from __future__ import annotations

from growdisk.partitions.table import PartitionTable
from growdisk.partitions.to_gpt import NotConvertible, as_gpt
from growdisk.planner.facts import Facts
from growdisk.planner.failures import OptionUnsupported
from growdisk.planner.goal import Goal
from growdisk.units import align_down

NOTE = (
    "the table becomes a GPT: numbers, UUIDs and labels stay, but each partition has a new PARTUUID, and the extended "
    "one is no more; a machine that mounts one of them by PARTUUID has to be told"
)


def wanted_table(facts: Facts, goal: Goal, table: PartitionTable, new_size: int) -> PartitionTable:
    """The table to grow in: `table`, or the GPT in its place. Raises OptionUnsupported."""
    if not goal.to_gpt or table.kind == "gpt":
        return table
    gpt = _gpt(facts, table, new_size)
    if isinstance(gpt, NotConvertible):
        raise OptionUnsupported(
            facts.image.path, option="--to-gpt", reason=gpt.reason,
            hint="leave it out: with an MBR, 2 TiB of a disk can be used",
        )  # fmt: skip
    return gpt


def offer(facts: Facts, table: PartitionTable, new_size: int) -> str:
    """How to go beyond what an MBR can have, or why that is not to be had."""
    gpt = _gpt(facts, table, new_size)
    if isinstance(gpt, NotConvertible):
        return f"--to-gpt cannot help: {gpt.reason}"
    return "or let its table become a GPT, which nothing that starts from this disk hinders: --to-gpt"


def _gpt(facts: Facts, table: PartitionTable, new_size: int) -> PartitionTable | NotConvertible:
    return as_gpt(table, align_down(new_size, table.sector_size), boot_code=facts.boot_code)
