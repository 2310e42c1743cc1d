"""A plan as values that a guest can act on: what guest-side scripts are made from, by phases.

    phase    does                                                      step of the same plan
    inspect  looks: disk, tables, tools, swap, memory                  (is resize-image there?)
    prepare  all checks; saves table and swap headers; swapoff         rewrite-partitions, a part
    rewrite  writes the planned table to the disk                      rewrite-partitions
    reread   makes the running kernel see it, or arranges a reboot     reread-partitions
    grow     grows container, volumes and the mounted file system:     grow-luks, grow-pv, grow-lv,
             the point of no return                                    grow-filesystem
    repair   swap again (moved or as a file), fstab, RESUME, initrd    remake-swap, repair-guest
    verify   reads all back; removes what a reboot was to go on with   (after the last step)
    undo     back to before: table, kernel, swap; not once grow began  rollback of all of them

Every phase may be run again at any time, in another boot as well: it looks how far things are and
does the rest. A phase is one self-contained POSIX sh script, run as root: `sh FILE`, or `sh -s`
with the script on stdin. Its last line on stdout is the answer (answers.py); stderr is for people,
/var/log/growdisk.log has all.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

from growdisk.fast_dataclass import dataclass, replace
from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.partitions.table import Partition, PartitionTable

SwapAction = Literal["drop", "move", "file", "keep"]


class Phase(Enum):
    """The phases; RUN_ORDER is what the driver runs one after another."""

    INSPECT = "inspect"
    PREPARE = "prepare"
    REWRITE = "rewrite"
    REREAD = "reread"
    GROW = "grow"
    REPAIR = "repair"
    VERIFY = "verify"
    UNDO = "undo"

    @property
    def file_name(self) -> str:
        return f"{self.value}.sh"


RUN_ORDER = tuple(phase for phase in Phase if phase is not Phase.UNDO)
DRIVER = "growdisk-run.sh"
STATE_FOLDER = "/var/lib/growdisk"
"""In the guest, for each run: in STATE_FOLDER/RUN lies what was saved; scripts put into
STATE_FOLDER/RUN/scripts are found there by a phase that comes on stdin and has to arrange for a
reboot.
"""


@dataclass(frozen=True)
class GuestSwap:
    """A swap partition that stood in the way: as it was, and what becomes of it.

    `size` in bytes.
    """

    number: int
    size: int
    uuid: str
    label: str
    partuuid: str
    partlabel: str
    action: SwapAction


@dataclass(frozen=True)
class GuestFilesystem:
    """What grows, as blkid calls it ("ext4"); `new_size` 0: as large as the partition allows."""

    kind: str
    uuid: str
    old_size: int
    new_size: int


@dataclass(frozen=True)
class GuestLayer:
    """Something between the partition and the file system, from the outside in.

    `luks`: the open container with `uuid` reaches to the end of what it is in, and then has `size`
    bytes. `pv`: the physical volume there has `extents`. `lv`: the volume `name` (group/volume), in
    LVM's `uuid` of group and volume, has `extents`, which are `size` bytes. UUIDs without hyphens,
    as the kernel has them.
    """

    kind: Literal["luks", "pv", "lv"]
    uuid: str
    name: str
    size: int = 0
    extents: int = 0


@dataclass(frozen=True)
class GuestGrowth:
    """A further file system that grows in the same run: in which partition, and through what."""

    target: int
    filesystem: GuestFilesystem
    layers: tuple[GuestLayer, ...] = ()


@dataclass(frozen=True)
class GuestPlan:
    """What a guest's scripts are rendered from: the tables before and after, and what grows.

    `before` and `after` are tables on the grown disk (disk_size is what the guest's kernel must
    see at least). If there is none they stand for it, with one partition of the number 0 and the
    UUID of what is on the whole disk. `gone` are the partitions that go and are not swap, with what
    is in them. `others` grow after the plan's own file system; the host takes them one by one.

    The guest finds the disk itself: the one whose table has this id and whose partition `target`
    starts there (if several do: the one with `serial`). GROWDISK_DISK=/dev/sdb in the environment
    overrides that.
    """

    run: str
    before: PartitionTable
    after: PartitionTable
    target: int
    filesystem: GuestFilesystem
    swaps: tuple[GuestSwap, ...] = ()
    swap_file_size: int = 0
    serial: str = ""
    layers: tuple[GuestLayer, ...] = ()
    gone: tuple[RemovedPartition, ...] = ()
    others: tuple[GuestGrowth, ...] = ()

    def growth(self, number: int) -> GuestPlan:
        """The plan for the scripts of one file system: 0 is its own, 1 the first of `others`."""
        if not number:
            return self
        other = self.others[number - 1]
        return replace(self, target=other.target, filesystem=other.filesystem, layers=other.layers)

    @property
    def all_layers(self) -> tuple[GuestLayer, ...]:
        return (*self.layers, *(layer for other in self.others for layer in other.layers))

    @property
    def gone_swaps(self) -> tuple[GuestSwap, ...]:
        return tuple(swap for swap in self.swaps if swap.action in ("drop", "file"))

    @property
    def is_whole_disk(self) -> bool:
        """Whether there is no table."""
        return self.target == 0

    @property
    def content_kind(self) -> str:
        """Of the outermost thing in the target: "luks", "pv", or the file system's kind."""
        return self.layers[0].kind if self.layers else self.filesystem.kind

    @property
    def room(self) -> int:
        """The bytes that the file system will have to itself."""
        # The innermost layer that knows its size; without layers, the partition.
        return next((layer.size for layer in reversed(self.layers) if layer.size), self.goal.size)

    @property
    def goal(self) -> Partition:
        """The target partition as it will be."""
        part = self.after.by_number(self.target)
        assert part is not None, self.target
        return part

    @property
    def removed(self) -> tuple[Partition, ...]:
        """Partitions that go, logical ones first, as they have to be deleted."""
        gone = [p for p in self.before.partitions if self.after.by_number(p.number) is None]
        return tuple(sorted(gone, key=lambda p: -p.number))

    @property
    def moved(self) -> tuple[Partition, ...]:
        """Partitions that start elsewhere afterwards; an extended one before what is in it."""
        moved = [
            new
            for new in self.after.partitions
            if (old := self.before.by_number(new.number)) and old.start != new.start
        ]
        return tuple(sorted(moved, key=lambda p: p.number))
