"""The tasks of playbooks and their options, declared once, as data.

They are for `growdisk run`, its checks and its help, and for the modules of the Ansible collection.
Options that the command line has too are in planner/option_table.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from growdisk.fast_dataclass import dataclass
from growdisk.planner import option_table as table
from growdisk.planner.option_table import Options, OptionSpec, flag, many, text

NAMESPACE = "growdisk.disk"


@dataclass(frozen=True)
class TaskSpec:
    """`writes`: it may change an image; others only look.

    `creates`: the option that names the file which it makes, if any.
    """

    name: str
    description: str
    options: tuple[OptionSpec, ...]
    writes: bool = True
    creates: str = ""

    @property
    def qualified(self) -> str:
        return f"{NAMESPACE}.{self.name}"

    def option(self, name: str) -> OptionSpec | None:
        return next((option for option in self.options if option.name == name), None)


_WHICH: Options = (*table.MACHINE, *table.INSIDE)
_GOAL: Options = (table.SIZE, *table.BY_RULE, *table.TABLE, *table.VOLUMES, table.PREALLOCATION)
_WHOLE_JOB: Options = (table.IMAGE_MAYBE, table.FORMAT, *_GOAL, *table.RUN, *_WHICH)
_STEP: Options = (table.IMAGE, table.FORMAT)
_WAY_BACK: Options = (table.SNAPSHOTS, table.OVERLAYS_MAY_BREAK, table.NOT_IN_USE)
_STEP_RUN: Options = (table.BACKEND, *_WAY_BACK)
_INSIDE: Options = (table.PARTITION, table.SECTOR_SIZE, table.KEY_FILE, *_STEP_RUN)
_LOOK: Options = (table.IMAGE_MAYBE, table.FORMAT, table.SECTOR_SIZE, table.KEY_FILE, *_WHICH)
_SYSTEM = text(
    "system",
    "The guest's root file system as the appliance names it: /dev/sda1, /dev/vg/root.",
    required=True,
)

_TASKS = (
    TaskSpec(
        "expand",
        "Grow image, partition, volumes and file system, with a snapshot before each step.",
        _WHOLE_JOB,
    ),
    TaskSpec(
        "expand_online",
        "Grow the disk of a guest while it runs; one that is off is grown as it lies.",
        _WHOLE_JOB,
    ),
    TaskSpec(
        "resize_image",
        "The first step alone: make the virtual disk larger.",
        (*_STEP, table.RESIZE_TO, table.PREALLOCATION, *_WAY_BACK),
    ),
    TaskSpec(
        "rewrite_partitions",
        "The second step alone: give up or move what is in the way, and recreate a partition over "
        "all the space.",
        (*_STEP, *table.TABLE, table.KEY_FILE, *_STEP_RUN),
    ),
    TaskSpec(
        "reread_partitions",
        "The third step alone: a kernel must see the table as it was written.",
        (*_STEP, table.SECTOR_SIZE, *_STEP_RUN),
    ),
    TaskSpec(
        "grow_filesystem",
        "The fourth step alone: grow what stands in a partition until it fills it, also in LUKS "
        "and LVM.",
        (*_STEP, table.PARTITION, table.SECTOR_SIZE, *table.VOLUMES, *_STEP_RUN),
    ),
    TaskSpec(
        "remake_swap",
        "Make swap space again where the new table has it, with the UUID and label that it had.",
        (
            *_STEP,
            many("dict", "swaps", "What rewrite_partitions returns as moved_swaps.", required=True),
            *_STEP_RUN,
        ),
    ),
    TaskSpec(
        "make_swap_file",
        "Make a swap file in the guest, in the place of a swap partition that is gone.",
        (
            *_STEP,
            _SYSTEM,
            text("size", "How large, such as 1G.", required=True),
            text("uuid", "The UUID that the swap had."),
            *_INSIDE,
        ),
    ),
    TaskSpec(
        "repair_guest",
        "Make the guest forget swap that is gone: fstab, RESUME, kernel command lines, initrds.",
        (
            *_STEP,
            _SYSTEM,
            many("dict", "swaps", "What rewrite_partitions returns as gone_swaps.", required=True),
            many(
                "str", "others", "Further file systems in which the guest's files may be as well."
            ),
            text(
                "swap",
                "What became of the first of them.",
                default="drop",
                choices=("drop", "file"),
            ),
            *_INSIDE,
        ),
    ),
    TaskSpec(
        "snapshot",
        "Create, apply or delete an internal snapshot of a qcow2 image.",
        (
            table.IMAGE,
            table.SNAPSHOT_NAME,
            text(
                "state",
                "present creates it, applied goes back to it, absent deletes it.",
                default="present",
                choices=("present", "applied", "absent"),
            ),
            table.OVERLAYS_MAY_BREAK,
        ),
    ),
    TaskSpec(
        "rollback",
        "Undo an unfinished or kept run of growdisk, wholly or down to one step.",
        (table.IMAGE, table.DOWN_TO, table.OVERLAYS_MAY_BREAK, table.NOT_IN_USE),
    ),
    TaskSpec(
        "commit",
        "Accept an image as a kept run left it, and forget the run's snapshots.",
        (table.IMAGE, table.NOT_IN_USE),
    ),
    TaskSpec(
        "convert",
        "Write what a guest sees of an image to a new one, in another format or shape.",
        (
            table.IMAGE,
            table.FORMAT,
            OptionSpec(
                "dest",
                "path",
                "The new image; one of this format and size is left as it is.",
                required=True,
            ),
            *table.CONVERTING.values(),
        ),
        creates="dest",
    ),
    TaskSpec(
        "image",
        "Have an image as it should be: there and as large as asked, sound, or without unused "
        "clusters.",
        (
            table.IMAGE,
            table.FORMAT,
            text(
                "state",
                "present creates or enlarges it, sound repairs it, compacted gives unused "
                "clusters back.",
                default="present",
                choices=("present", "sound", "compacted"),
            ),
            text("size", "40G for a new image; an existing one grows to it, or by +10G."),
            *table.CREATING.values(),
            table.PREALLOCATION,
            table.OVERLAYS_MAY_BREAK,
        ),
        creates="image",
    ),
    TaskSpec(
        "provision",
        "Make a ready image of a base image before its first boot: grown, named, with keys and "
        "files.",
        (
            OptionSpec(
                "dest",
                "path",
                "The new image; one that exists is left as it is, unless force.",
                required=True,
            ),
            *table.PROVISIONING.values(),
        ),
        creates="dest",
    ),
    TaskSpec(
        "show",
        "Show what is on a disk: its image, table, partitions, what is in them, what blocks "
        "growth.",
        _LOOK,
        writes=False,
    ),
    TaskSpec(
        "facts",
        "Gather what is on a disk as facts, growdisk_disk, for later tasks.",
        _LOOK,
        writes=False,
    ),
    TaskSpec(
        "script",
        "Write the scripts that grow the disk from inside its running guest, to be carried over "
        "by hand.",
        (
            table.IMAGE_MAYBE,
            table.FORMAT,
            OptionSpec("dest", "path", "A new or empty folder.", required=True),
            table.SIZE,
            *table.TABLE,
            *_WHICH,
        ),
    ),
    TaskSpec(
        "assert",
        "Fail unless a disk is as it should be.",
        (
            table.IMAGE,
            table.FORMAT,
            flag("filled", "Every layer fills what is around it."),
            flag("sound", "The image has no errors and no leaked clusters."),
            text("size", "The virtual size, such as 13G."),
            text("at_least", "The least virtual size."),
            many("int", "present", "Numbers of partitions that must be there."),
            many("int", "absent", "Numbers of partitions that must not be there."),
            table.PARTITION,
            text("filesystem_at_least", "The least size of the file system in the partition."),
            table.SECTOR_SIZE,
            table.KEY_FILE,
        ),
        writes=False,
    ),
    TaskSpec(
        "watch",
        "One round by rules: the disks of this host that are nearly full grow.",
        tuple(table.WATCHING.values()),
    ),
)

TASKS: Mapping[str, TaskSpec] = MappingProxyType({task.name: task for task in _TASKS})
"""All tasks by their short name."""
