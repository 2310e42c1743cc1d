"""What the host knows for a rule: when the disk last grew, and whether the host would fill up."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass, replace
from growdisk.planner.goal import Goal
from growdisk.units import format_size
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.states import Status


@dataclass(eq=False)
class HostWouldFill(Refused):
    """Sizes in bytes."""

    WHAT: ClassVar[str] = "{path} does not grow: the host would fill up"
    WHY: ClassVar[str] = (
        "the growth can take {growth_text}, {free_text} are free {where}, and {kept_text} shall stay free"
    )
    DO: ClassVar[str] = "make room on the host, grow by less, or say --keep-host-free with a smaller share"
    path: Path
    growth: int
    free: int
    keep: int
    where: str

    @property
    def growth_text(self) -> str:
        return format_size(self.growth)

    @property
    def free_text(self) -> str:
        return format_size(self.free)

    @property
    def kept_text(self) -> str:
        return format_size(self.keep)


@dataclass(eq=False)
class PoolOvercommitted(Refused):
    WHAT: ClassVar[str] = "{path} does not grow: its thin pool would be promised more than it has"
    WHY: ClassVar[str] = "its volumes would have {promised_text}, and the pool has {size_text} {where}"
    DO: ClassVar[str] = "make the pool larger (lvextend), or grow without --when-used and --keep-host-free"
    path: Path
    promised: int
    size: int
    where: str

    @property
    def promised_text(self) -> str:
        return format_size(self.promised)

    @property
    def size_text(self) -> str:
        return format_size(self.size)


def known_to_host(goal: Goal, path: Path) -> Goal:
    """The goal, whose rule knows when the image at `path` last grew."""
    rule = goal.rule
    if rule is None or rule.min_interval is None:
        return goal
    return replace(goal, rule=replace(rule, since_growth=_since_growth(path)))


def _since_growth(path: Path) -> float | None:
    """Seconds since its last run ended well, whatever the clock has done since."""
    directory = RunDirectory.beside(path)
    if directory.state().status not in (Status.DONE, Status.KEPT):
        return None
    return max(time.time() - directory.plan_file.with_name("journal.jsonl").stat().st_mtime, 0.0)


def refuse_to_fill_host(path: Path, goal: Goal, old_size: int, new_size: int) -> None:
    """HostWouldFill, PoolOvercommitted: only where a rule grows it, for then nobody watches. Sizes in bytes."""
    rule, growth = goal.rule, new_size - old_size
    if rule is None or growth <= 0:
        return
    from growdisk.host.free_space import room_for  # most runs have no rule

    room = room_for(path)
    if room.promised is not None and room.promised + growth > room.total:
        raise PoolOvercommitted(path, room.promised + growth, room.total, room.where)
    if room.device_size is not None and room.promised is None:
        return  # its owner makes it larger, and says how much there is
    keep = int(room.total * (rule.keep_host_free or 0.0))
    if room.free - growth < keep:
        raise HostWouldFill(path, growth, room.free, keep, room.where)
