"""The options that command line, playbooks and Ansible modules share: declared once, as data.

argparse's options are made from this table (cli/declaring.py), playbook tasks take it as it is
(playbook/specs.py), and a test compares what the modules document with it. Names have underscores
here; the command line writes hyphens. A default of None means: not given.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from growdisk.fast_dataclass import dataclass

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import Literal

    OptionType = Literal["str", "bool", "int", "list", "dict", "path"]


@dataclass(frozen=True)
class OptionSpec:
    """`elements` is the type of a list's items. `description` is one sentence."""

    name: str
    type: OptionType
    description: str
    required: bool = False
    default: str | bool | int | None = None
    choices: tuple[str, ...] = ()
    elements: OptionType | None = None


Options = tuple[OptionSpec, ...]


def as_flag(name: str, value: str = "") -> str:
    """An option as the command line writes it: `--max-size 200G`."""
    return f"--{name.replace('_', '-')} {value}".rstrip()


def as_key(name: str, value: str = "") -> str:
    """An option as a task, or a file of rules, writes it: `max_size: 200G`."""
    return f"{name}: {value}" if value else name


def _by_name(*options: OptionSpec) -> Mapping[str, OptionSpec]:
    return MappingProxyType({option.name: option for option in options})


def flag(name: str, description: str, *, default: bool = False) -> OptionSpec:
    return OptionSpec(name, "bool", description, default=default)


def text(
    name: str,
    description: str,
    *,
    required: bool = False,
    default: str | None = None,
    choices: tuple[str, ...] = (),
) -> OptionSpec:
    return OptionSpec(name, "str", description, required, default, choices)


def path(name: str, description: str, *, required: bool = False) -> OptionSpec:
    return OptionSpec(name, "path", description, required)


def many(
    elements: OptionType, name: str, description: str, *, required: bool = False
) -> OptionSpec:
    return OptionSpec(name, "list", description, required=required, elements=elements)


_FORMATS = ("qcow2", "raw")
IMAGE = path("image", "The image file.", required=True)
FORMAT = text("format", "The image's format; probed if left out.", choices=_FORMATS)
IMAGE_MAYBE = path(
    "image", "The image file; a running guest may be named by domain or qmp instead."
)
MACHINE: Options = (
    text("domain", "A machine of libvirt, running or not."),
    text("connect", "The URI of libvirt; its own choice if left out."),
    text("disk", "Which disk of the machine: vda, or QEMU's id."),
    path("qmp", "The socket of a running guest's monitor (QEMU's -qmp)."),
)
INSIDE: Options = (
    text(
        "online",
        "How to work inside a running guest; by ssh if that is given, else by its guest agent.",
        default="auto",
        choices=("auto", "agent", "ssh"),
    ),
    text("ssh", "How ssh reaches the guest: user@host, as root or with sudo."),
    path("ssh_config", "A configuration file for ssh, as of vagrant ssh-config."),
    path("agent", "The socket of the guest agent; found if left out."),
    text("guest_disk", "The disk as the guest names it, such as /dev/vda."),
    flag("allow_reboot", "The guest may restart once, where its disk controller asks for it."),
)
SIZE = text(
    "size",
    "+10G grows by, 40G grows to; if left out, every layer grows into the unused space around it.",
)
PREALLOCATION = text(
    "preallocation",
    "Take the new space on the host at once; expand does so for raw image files alone, by falloc.",
    default="off",
    choices=("off", "metadata", "falloc", "full"),
)
PARTITION = text(
    "partition",
    "Which partition grows: a number, or a name such as /dev/sda1; the largest if left out.",
    default="auto",
)
SECTOR_SIZES = (512, 4096)
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
    text(
        "swap",
        "What becomes of swap that stands in the way; by default drop if the guest's files can be "
        "changed, else move.",
        choices=("drop", "move", "file"),
    ),
    many("int", "move", "Numbers of partitions that may be copied to the end of the disk."),
    many("int", "delete", "Numbers of partitions that may be given up."),
    flag("to_gpt", "An MBR may become a GPT, on a disk that nothing starts from."),
    flag("guest_repair", "Bring the guest's own files in line with what is gone.", default=True),
    SECTOR_SIZE,
)
KEY_FILE = many("path", "key_file", "Files with a passphrase of what is encrypted in the guest.")
VOLUMES: Options = (
    many(
        "str",
        "lv",
        "Which logical volumes grow, and by what of the free space: vg/root, vg/home=60%.",
    ),
    text("lv_share", "Grow into this percentage of what is free in the volume group, such as 60%."),
    KEY_FILE,
)
BACKEND = text(
    "backend",
    "Who works on the guest's file systems.",
    default="auto",
    choices=("auto", "guestfs", "uml", "direct"),
)
SNAPSHOTS = text(
    "snapshots",
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
    text(
        "when_used",
        "Grow only if the file system that would grow is fuller than that, such as 85%.",
    ),
    text("max_size", "Never let the disk become larger than that, such as 200G."),
    text("min_interval", "Grow only if it last grew that long ago: 90s, 15m, 1h, 2d."),
    text(
        "keep_host_free",
        "Refuse if less than this percentage of the host's room were left once the new space is "
        "filled, such as 10%.",
    ),
)

SHARED = _by_name(FORMAT, SIZE, *BY_RULE, PREALLOCATION, *TABLE, *VOLUMES, *RUN, *MACHINE, *INSIDE)
"""What `growdisk expand` and the task expand both take."""

# What other verbs have in common with the task that does the same.

RESIZE_TO = text("size", "+10G grows by, 40G grows to.", required=True)
SNAPSHOT_NAME = text("name", "The snapshot's name.", required=True)
DOWN_TO = text("to", "Undo this step, such as grow-filesystem, and all after it; all if left out.")
CREATE_OPTIONS = OptionSpec(
    "options", "dict", "Options of a new image, named as qemu-img names them."
)
CREATING = _by_name(
    path("backing", "The backing file of a new image."),
    text("backing_format", "The format of the backing file; probed if left out.", choices=_FORMATS),
    CREATE_OPTIONS,
)
CONVERTING = _by_name(
    text("to", "The new format; by the name of the new image if left out.", choices=_FORMATS),
    flag("compress", "Compress the clusters of a qcow2 image."),
    text("compression", "How to compress.", choices=("zlib", "zstd")),
    CREATE_OPTIONS,
    text("snapshot", "Convert this internal snapshot instead, at its own size."),
    flag("keep_snapshots", "Take the internal snapshots along."),
)
PROVISIONING = _by_name(
    path("base", "The base image, which is only read.", required=True),
    text("size", "40G grows to, +10G by; the new image is as large as the base if left out."),
    flag("force", "Replace an existing image."),
    flag("overlay", "Make an overlay of the base, which must stay as it is; quick and small."),
    text(
        "format",
        "The format of the new image; by its name (.qcow2, .raw) if left out, else the base's.",
        choices=_FORMATS,
    ),
    text("hostname", "The guest's name."),
    path("recipe", "A recipe file, in YAML; other options win over it."),
)
WATCHING = _by_name(
    path("rules", "The rules file: which disks grow, when, by what and how far.", required=True),
    text("connect", "The URI of libvirt; what the rules say if left out."),
    path("metrics", "Where metrics for Prometheus' textfile collector are written."),
)
