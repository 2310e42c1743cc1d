"""What cloud-init would still find to do at the first boot, by the rules of its growpart and resizefs.

growpart moves the end of the root's partition to the next partition's start, or to the end of the disk less what a GPT
keeps there; what would be a mebibyte or less it leaves alone.
"""

from __future__ import annotations

from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal
from growdisk.planner.planner import AllDone, propose
from growdisk.units import MiB, format_size

NOTHING = "nothing"
_FUDGE = MiB
_RESIZED = ("ext2", "ext3", "ext4", "xfs", "btrfs")  # by cloud-init, right in the partition
_GPT_BACKUP_SECTORS = 33
_MBR_END = (1 << 32) * 512


def left_for_growpart(facts: Facts) -> str:
    """NOTHING, or what is left in words."""
    if facts.table is None or facts.main is None:
        return NOTHING if facts.table is None and isinstance(propose(facts, Goal()), AllDone) else "cannot be told"
    main, table = facts.main, facts.table
    end = facts.image.virtual_size
    end = min(end, _MBR_END) if table.kind == "mbr" else end - _GPT_BACKUP_SECTORS * table.sector_size
    following = [part.start for part in table.partitions if part.start >= main.end]
    room = min([end, *following]) - main.end
    if room > _FUDGE:
        return f"{facts.name_of(main.number)} could grow by {format_size(room)}"
    content = facts.contents.get(main.number)
    size = content.size if content is not None and content.kind in _RESIZED else None
    if size is not None and main.size - size >= _FUDGE:
        return f"the file system on {facts.name_of(main.number)} could grow by {format_size(main.size - size)}"
    return NOTHING
