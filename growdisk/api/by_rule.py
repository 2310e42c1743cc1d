"""What the host knows for a rule: when the disk last grew, and whether the host would fill up."""

from __future__ import annotations

import time
from pathlib import Path

from growdisk.errors import Refused
from growdisk.fast_dataclass import replace
from growdisk.host.free_space import HostRoom, room_for
from growdisk.planner.goal import Goal
from growdisk.units import Bytes, format_size
from growdisk.workflow.journal import RunStatus
from growdisk.workflow.run_directory import RunDirectory


def known_to_host(goal: Goal, path: Path) -> Goal:
    """The goal, whose rule knows when the image at `path` last grew."""
    rule = goal.rule
    if rule is None or rule.min_interval is None:
        return goal
    return replace(goal, rule=replace(rule, since_growth=_since_growth(path)))


def _since_growth(path: Path) -> float | None:
    """Seconds since its last run ended well.

    One from the future tells that the clock was wrong then, or is now: it holds nobody back for
    longer than the interval.
    """
    directory = RunDirectory.beside(path)
    if directory.state().status not in (RunStatus.DONE, RunStatus.KEPT):
        return None
    # The journal was last written when the run ended.
    return abs(time.time() - directory.plan_file.with_name("journal.jsonl").stat().st_mtime)


def refuse_to_fill_host(path: Path, goal: Goal, old_size: int, new_size: int) -> None:
    """host-would-fill, pool-overcommitted: only if a rule grows it, for then nobody watches.

    Sizes in bytes.
    """
    rule, growth = goal.rule, new_size - old_size
    if rule is None or growth <= 0:
        return
    refuse_without_room(path, room_for(path), growth, rule.keep_host_free or 0.0)


def refuse_without_room(
    path: Path, room: HostRoom, growth: int, keep_free: float, promised: int = 0
) -> None:
    """host-would-fill, pool-overcommitted.

    `promised`: what others may take of the same room, and have not yet.
    """
    # A thin pool gives no error until it is full, and then to all of its volumes.
    if room.promised is not None and room.promised + promised + growth > room.total:
        all_promised = room.promised + promised + growth
        raise Refused.named(
            "pool-overcommitted",
            "{path} does not grow: its thin pool would be promised more than it has",
            "its volumes would have {promised}, and the pool has {size} {where}",
            "make the pool larger (lvextend), or grow without --when-used and --keep-host-free",
            {
                "path": path,
                "promised": Bytes(all_promised),
                "size": Bytes(room.total),
                "where": room.where,
            },
        )
    if not room.shared:
        return  # its owner makes it larger, and says how much there is
    # `growth` counts in full: a sparse image takes it bit by bit, when nobody looks.
    keep = int(room.total * keep_free)
    if room.free - promised - growth < keep:
        others = (
            f", {format_size(promised)} of it for disks that grew in the same round"
            if promised
            else ""
        )
        raise Refused.named(
            "host-would-fill",
            "{path} does not grow: the host would fill up",
            "the growth can take {growth}, {free} are free {where}{_others}, and {keep} shall "
            "stay free",
            "make room on the host, grow by less, or say --keep-host-free with a smaller share",
            {
                "path": path,
                "growth": Bytes(growth),
                "free": Bytes(room.free),
                "keep": Bytes(keep),
                "where": room.where,
                "promised": Bytes(promised),
                "_others": others,
            },
        )
