"""The options that command line, playbooks and Ansible modules share: declared once, as data.

argparse's options are made from this table, playbook tasks take it as it is, and a test compares
what the modules document with it. Names have underscores here; the command line writes hyphens. A
default of None means: not given.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from growdisk.fast_dataclass import dataclass
from growdisk.planner.goal import BACKENDS

OptionType = Literal["str", "bool", "int", "list", "dict", "path"]
Default = str | bool | int | None


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


Options = tuple[OptionSpec, ...]


def flag(name: str, description: str) -> OptionSpec:
    return OptionSpec(name, "bool", description, default=False)


def many(
    elements: OptionType, name: str, description: str, *, required: bool = False
) -> OptionSpec:
    return OptionSpec(name, "list", description, required=required, elements=elements)


IMAGE = OptionSpec("image", "path", "The image file.", required=True)
FORMAT = OptionSpec(
    "format", "str", "The image's format; probed if left out.", choices=("qcow2", "raw")
)
IMAGE_MAYBE = OptionSpec(
    "image", "path", "The image file; a running guest may be named by domain or qmp instead."
)
MACHINE: Options = (
    OptionSpec("domain", "str", "A machine of libvirt, running or not."),
    OptionSpec("connect", "str", "The URI of libvirt; its own choice if left out."),
    OptionSpec("disk", "str", "Which disk of the machine: vda, or QEMU's id."),
    OptionSpec("qmp", "path", "The socket of a running guest's monitor (QEMU's -qmp)."),
)
INSIDE: Options = (
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
    flag("allow_reboot", "The guest may restart once, where its disk controller asks for it."),
)
SIZE = OptionSpec(
    "size",
    "str",
    "+10G grows by, 40G grows to; if left out, every layer grows into the unused space around it.",
)
PREALLOCATION = OptionSpec(
    "preallocation",
    "str",
    "Take the new space on the host at once.",
    default="off",
    choices=("off", "metadata", "falloc", "full"),
)
PARTITION = OptionSpec(
    "partition",
    "str",
    "Which partition grows: a number, or a name such as /dev/sda1; the largest if left out.",
    default="auto",
)
SECTOR_SIZE = OptionSpec(
    "sector_size",
    "int",
    "The disk's logical sectors, which no image records: 512 or 4096.",
    default=512,
)
TABLE: Options = (
    PARTITION,
    many(
        "str",
        "grow",
        "Several partitions with a share of the space each: sda1=60%, sda3=+5G, sda3=rest.",
    ),
    OptionSpec(
        "swap",
        "str",
        "What becomes of swap that stands in the way; by default drop if the guest's files can be "
        "changed, else move.",
        choices=("drop", "move", "file"),
    ),
    many("int", "move", "Numbers of partitions that may be copied to the end of the disk."),
    many("int", "delete", "Numbers of partitions that may be given up."),
    flag("to_gpt", "An MBR may become a GPT, on a disk that nothing starts from."),
    OptionSpec(
        "guest_repair",
        "bool",
        "Bring the guest's own files in line with what is gone.",
        default=True,
    ),
    SECTOR_SIZE,
)
KEY_FILE = many("path", "key_file", "Files with a passphrase of what is encrypted in the guest.")
VOLUMES: Options = (
    many(
        "str",
        "lv",
        "Which logical volumes grow, and by what of the free space: vg/root, vg/home=60%.",
    ),
    OptionSpec(
        "lv_share",
        "str",
        "Grow into this percentage of what is free in the volume group, such as 60%.",
    ),
    KEY_FILE,
)
BACKEND = OptionSpec(
    "backend", "str", "Who works on the guest's file systems.", default="auto", choices=BACKENDS
)
SNAPSHOTS = OptionSpec(
    "snapshots",
    "str",
    "How each step can be undone.",
    default="auto",
    choices=("auto", "internal", "overlay", "none"),
)
OVERLAYS_MAY_BREAK = flag(
    "overlays_may_break", "Go on although other images lie on this one (overlays): it spoils them."
)
NOT_IN_USE = flag(
    "not_in_use",
    "Your word that nobody uses the device, where growdisk, without root, cannot look.",
)
RUN: Options = (
    BACKEND,
    SNAPSHOTS,
    OVERLAYS_MAY_BREAK,
    NOT_IN_USE,
    flag("keep_snapshots", "Keep the way back: growdisk rollback takes it, commit forgets it."),
)

BY_RULE: Options = (
    OptionSpec(
        "when_used",
        "str",
        "Grow only if the file system that would grow is fuller than that, such as 85%.",
    ),
    OptionSpec("max_size", "str", "Never let the disk become larger than that, such as 200G."),
    OptionSpec("min_interval", "str", "Grow only if it last grew that long ago: 90s, 15m, 1h, 2d."),
    OptionSpec(
        "keep_host_free",
        "str",
        "Refuse if less than this percentage of the host's room were left once the new space is "
        "filled, such as 10%.",
    ),
)

SHARED: Mapping[str, OptionSpec] = MappingProxyType(
    {
        option.name: option
        for option in (
            FORMAT,
            SIZE,
            *BY_RULE,
            PREALLOCATION,
            *TABLE,
            *VOLUMES,
            *RUN,
            *MACHINE,
            *INSIDE,
        )
    }
)
"""By name: what `growdisk expand` and the task expand both take."""
