"""The tasks of playbooks and their options, declared once and as data: for `growdisk run`, its checks and its help, and
for the modules of the Ansible collection.

Options are named as those of the command line, with underscores. A default of None means: not given.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from growdisk.planner.goal import BACKENDS
from growdisk.values import dataclass

OptionType = Literal["str", "bool", "int", "list", "dict", "path"]
Default = str | bool | int | None

NAMESPACE = "growdisk.disk"


@dataclass(frozen=True)
class OptionSpec:
    """`elements` is the type of a list's items. `description` is one sentence."""

    name: str
    type: OptionType
    description: str
    required: bool = False
    default: Default = None
    choices: tuple[str, ...] = ()
    elements: OptionType | None = None


@dataclass(frozen=True)
class TaskSpec:
    """`writes`: it may change an image; others only look. `running`: it also works on a guest that runs."""

    name: str
    description: str
    options: tuple[OptionSpec, ...]
    writes: bool = True
    running: bool = False

    @property
    def qualified(self) -> str:
        return f"{NAMESPACE}.{self.name}"

    def option(self, name: str) -> OptionSpec | None:
        return next((option for option in self.options if option.name == name), None)


_Options = tuple[OptionSpec, ...]

_IMAGE = OptionSpec("image", "path", "The image file.", required=True)
_FORMAT = OptionSpec("format", "str", "The image's format; probed if left out.", choices=("qcow2", "raw"))
_IMAGE_MAYBE = OptionSpec("image", "path", "The image file; a running guest may be named by domain or qmp instead.")
_MACHINE: _Options = (
    OptionSpec("domain", "str", "A machine of libvirt, running or not."),
    OptionSpec("connect", "str", "The URI of libvirt; its own choice if left out."),
    OptionSpec("disk", "str", "Which disk of the machine: vda, or QEMU's id."),
    OptionSpec("qmp", "path", "The socket of a running guest's monitor (QEMU's -qmp)."),
)
_INSIDE: _Options = (
    OptionSpec(
        "online",
        "str",
        "How to work inside a running guest; by ssh if that is given, else by its guest agent.",
        default="auto",
        choices=("auto", "agent", "ssh"),
    ),
    OptionSpec("ssh", "str", "How ssh reaches the guest: user@host, as root or with sudo."),
    OptionSpec("ssh_config", "path", "A configuration file for ssh, as of vagrant ssh-config."),
    OptionSpec("agent", "path", "The socket of the guest agent; found if left out."),
    OptionSpec("guest_disk", "str", "The disk as the guest names it, such as /dev/vda."),
    OptionSpec(
        "allow_reboot", "bool", "The guest may restart once, where its disk controller asks for it.", default=False
    ),
)
_SIZE = OptionSpec("size", "str", "+10G grows by, 40G grows to; if left out, every layer that lags behind is filled.")
_PREALLOCATION = OptionSpec(
    "preallocation",
    "str",
    "Take the new space on the host at once.",
    default="off",
    choices=("off", "metadata", "falloc", "full"),
)
_PARTITION = OptionSpec(
    "partition",
    "str",
    "Which partition grows: a number, or a name such as /dev/sda1; the largest if left out.",
    default="auto",
)
_SECTOR_SIZE = OptionSpec(
    "sector_size", "int", "The disk's logical sectors, which no image records: 512 or 4096.", default=512
)
_TABLE: _Options = (
    _PARTITION,
    OptionSpec(
        "grow",
        "list",
        "Several partitions with a share of the space each: sda1=60%, sda3=+5G, sda3=rest.",
        elements="str",
    ),
    OptionSpec(
        "swap",
        "str",
        "What becomes of swap that stands in the way; by default drop if the guest's files can be changed, else move.",
        choices=("drop", "move", "file"),
    ),
    OptionSpec("move", "list", "Numbers of partitions that may be copied to the end of the disk.", elements="int"),
    OptionSpec("delete", "list", "Numbers of partitions that may be given up.", elements="int"),
    OptionSpec("to_gpt", "bool", "An MBR may become a GPT, on a disk that nothing starts from.", default=False),
    OptionSpec("guest_repair", "bool", "Bring the guest's own files in line with what is gone.", default=True),
    _SECTOR_SIZE,
)
_KEY_FILE = OptionSpec(
    "key_file", "list", "Files with a passphrase of what is encrypted in the guest.", elements="path"
)
_VOLUMES: _Options = (
    OptionSpec(
        "lv", "list", "Which logical volumes grow, and by what of the free space: vg/root, vg/home=60%.", elements="str"
    ),
    OptionSpec("lv_share", "str", "Grow into this percentage of what is free in the volume group, such as 60%."),
    _KEY_FILE,
)
_BACKEND = OptionSpec("backend", "str", "Who works on the guest's file systems.", default="auto", choices=BACKENDS)
_SNAPSHOTS = OptionSpec(
    "snapshots", "str", "How each step can be undone.", default="auto", choices=("auto", "internal", "overlay", "none")
)
_RUN: _Options = (
    _BACKEND,
    _SNAPSHOTS,
    OptionSpec(
        "keep_snapshots", "bool", "Keep the way back: growdisk rollback takes it, commit forgets it.", default=False
    ),
)
_STEP: _Options = (_IMAGE, _FORMAT)
_STEP_RUN: _Options = (_BACKEND, _SNAPSHOTS)
_SYSTEM = OptionSpec(
    "system", "str", "The guest's root file system as the appliance names it: /dev/sda1, /dev/vg/root.", required=True
)

_TASKS = (
    TaskSpec(
        "expand",
        "Grow image, partition, what lies between, and file system, each step behind a snapshot.",
        (_IMAGE_MAYBE, _FORMAT, _SIZE, *_TABLE, *_VOLUMES, _PREALLOCATION, *_RUN, *_MACHINE, *_INSIDE),
        running=True,
    ),
    TaskSpec(
        "expand_online",
        "Grow the disk of a guest while it runs; one that is off is grown as it lies.",
        (_IMAGE_MAYBE, _FORMAT, _SIZE, *_TABLE, *_VOLUMES, _PREALLOCATION, *_RUN, *_MACHINE, *_INSIDE),
        running=True,
    ),
    TaskSpec(
        "resize_image",
        "The first step alone: make the virtual disk larger.",
        (*_STEP, OptionSpec("size", "str", "+10G grows by, 40G grows to.", required=True), _PREALLOCATION, _SNAPSHOTS),
    ),
    TaskSpec(
        "rewrite_partitions",
        "The second step alone: give up or move what is in the way, and recreate a partition over all the space.",
        (*_STEP, *_TABLE, _KEY_FILE, *_STEP_RUN),
    ),
    TaskSpec(
        "reread_partitions",
        "The third step alone: a kernel must see the table as it was written.",
        (*_STEP, _SECTOR_SIZE, *_STEP_RUN),
    ),
    TaskSpec(
        "grow_filesystem",
        "The fourth step alone: grow what stands in a partition until it fills it, also in LUKS and LVM.",
        (*_STEP, _PARTITION, _SECTOR_SIZE, *_VOLUMES, *_STEP_RUN),
    ),
    TaskSpec(
        "remake_swap",
        "Make swap space again where the new table has it, with the UUID and label that it had.",
        (
            *_STEP,
            OptionSpec(
                "swaps", "list", "What rewrite_partitions returns as moved_swaps.", required=True, elements="dict"
            ),
            *_STEP_RUN,
        ),
    ),
    TaskSpec(
        "make_swap_file",
        "Make a swap file in the guest, in the place of a swap partition that is gone.",
        (
            *_STEP,
            _SYSTEM,
            OptionSpec("size", "str", "How large, such as 1G.", required=True),
            OptionSpec("uuid", "str", "The UUID that the swap had."),
            _PARTITION,
            _SECTOR_SIZE,
            _KEY_FILE,
            *_STEP_RUN,
        ),
    ),
    TaskSpec(
        "repair_guest",
        "Make the guest forget swap that is gone: fstab, RESUME, kernel command lines, initrds.",
        (
            *_STEP,
            _SYSTEM,
            OptionSpec(
                "swaps", "list", "What rewrite_partitions returns as gone_swaps.", required=True, elements="dict"
            ),
            OptionSpec(
                "others", "list", "Further file systems in which the guest's files may be as well.", elements="str"
            ),
            OptionSpec("swap", "str", "What became of the first of them.", default="drop", choices=("drop", "file")),
            _PARTITION,
            _SECTOR_SIZE,
            _KEY_FILE,
            *_STEP_RUN,
        ),
    ),
    TaskSpec(
        "snapshot",
        "Create, apply or delete an internal snapshot of a qcow2 image.",
        (
            _IMAGE,
            OptionSpec("name", "str", "The snapshot's name.", required=True),
            OptionSpec(
                "state",
                "str",
                "present creates it, applied goes back to it, absent deletes it.",
                default="present",
                choices=("present", "applied", "absent"),
            ),
        ),
    ),
    TaskSpec(
        "rollback",
        "Undo an unfinished or kept run of growdisk, wholly or down to one step.",
        (_IMAGE, OptionSpec("to", "str", "Only down to and including this step, such as grow-filesystem.")),
    ),
    TaskSpec("commit", "Accept an image as a kept run left it, and forget the run's snapshots.", (_IMAGE,)),
    TaskSpec(
        "convert",
        "Write what a guest sees of an image to a new one, in another format or shape.",
        (
            _IMAGE,
            _FORMAT,
            OptionSpec("dest", "path", "The new image; one of this format and size is left as it is.", required=True),
            OptionSpec("to", "str", "The new format; by the name of dest if left out.", choices=("qcow2", "raw")),
            OptionSpec("compress", "bool", "Compress the clusters of a qcow2 image.", default=False),
            OptionSpec("compression", "str", "How to compress.", choices=("zlib", "zstd")),
            OptionSpec(
                "options", "dict", "Options of the new image, named as qemu-img names them, such as cluster_size."
            ),
            OptionSpec("snapshot", "str", "Convert this internal snapshot instead, at its own size."),
            OptionSpec("keep_snapshots", "bool", "Take the internal snapshots along.", default=False),
        ),
    ),
    TaskSpec(
        "image",
        "Have an image as it should be: there and as large as asked, sound, or without unused clusters.",
        (
            _IMAGE,
            _FORMAT,
            OptionSpec(
                "state",
                "str",
                "present creates or enlarges it, sound repairs it, compacted gives unused clusters back.",
                default="present",
                choices=("present", "sound", "compacted"),
            ),
            OptionSpec("size", "str", "40G for a new image; an existing one grows to it, or by +10G."),
            OptionSpec("backing", "path", "The backing file of a new image."),
            OptionSpec("backing_format", "str", "Its format.", choices=("qcow2", "raw")),
            OptionSpec("options", "dict", "Options of a new image, named as qemu-img names them."),
            _PREALLOCATION,
        ),
    ),
    TaskSpec(
        "provision",
        "Make a ready image of a base image before its first boot: grown, named, with keys and files.",
        (
            OptionSpec("base", "path", "The base image, which is only read.", required=True),
            OptionSpec("dest", "path", "The new image; one that exists is left as it is, unless force.", required=True),
            OptionSpec("size", "str", "How large it shall be: 40G, or +10G more than the base."),
            OptionSpec("force", "bool", "Replace an existing image.", default=False),
            OptionSpec("overlay", "bool", "Make it an overlay of the base: at once, and little.", default=False),
            OptionSpec("format", "str", "The format of the new image.", choices=("qcow2", "raw")),
            OptionSpec("hostname", "str", "The guest's name."),
            OptionSpec("recipe", "path", "A recipe file, as growdisk provision --recipe takes it."),
        ),
    ),
    TaskSpec(
        "show",
        "Show what is on a disk: its image, table, partitions, what is in them, what blocks growth.",
        (_IMAGE_MAYBE, _FORMAT, _SECTOR_SIZE, _KEY_FILE, *_MACHINE, *_INSIDE),
        writes=False,
        running=True,
    ),
    TaskSpec(
        "facts",
        "Gather what is on a disk as facts, growdisk_disk, for the tasks behind.",
        (_IMAGE_MAYBE, _FORMAT, _SECTOR_SIZE, _KEY_FILE, *_MACHINE, *_INSIDE),
        writes=False,
        running=True,
    ),
    TaskSpec(
        "script",
        "Write the scripts that grow the disk from inside its running guest, to be carried over by hand.",
        (
            _IMAGE_MAYBE,
            _FORMAT,
            OptionSpec("dest", "path", "A new or empty folder.", required=True),
            _SIZE,
            *_TABLE,
            *_MACHINE,
            *_INSIDE,
        ),
        running=True,
    ),
    TaskSpec(
        "assert",
        "Fail unless a disk is as it should be.",
        (
            _IMAGE,
            _FORMAT,
            OptionSpec("filled", "bool", "Every layer fills what is around it.", default=False),
            OptionSpec("sound", "bool", "The image has no errors and no leaked clusters.", default=False),
            OptionSpec("size", "str", "The virtual size, such as 13G."),
            OptionSpec("at_least", "str", "The least virtual size."),
            OptionSpec("present", "list", "Numbers of partitions that must be there.", elements="int"),
            OptionSpec("absent", "list", "Numbers of partitions that must not be there.", elements="int"),
            _PARTITION,
            OptionSpec("filesystem_at_least", "str", "The least size of the file system in the partition."),
            _SECTOR_SIZE,
            _KEY_FILE,
        ),
        writes=False,
    ),
)

TASKS: Mapping[str, TaskSpec] = MappingProxyType({task.name: task for task in _TASKS})
"""All tasks by their short name."""
