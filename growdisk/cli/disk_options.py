"""Options for what lies on a disk, made from the one table of options (planner/option_table.py)."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from growdisk.cli.common_options import group_of
from growdisk.cli.images.keys import read_key
from growdisk.planner.option_table import SHARED, OptionSpec

_TYPES = {"int": int, "path": Path}
_EACH = "one at a time, may be given several times"


def declare(
    parser: argparse._ActionsContainer,
    name: str,
    *flags: str,
    more: str = "",
    also: tuple[str, ...] = (),
    **settings: object,
) -> None:
    """Add the option `name` of the table, with `flags` as short forms.

    `more` stands after its description in the help; `also`: choices that only the command line has.
    `settings` (metavar, type, default) overrule the table.
    """
    option = SHARED[name]
    flag = f"--{name.replace('_', '-')}"
    made: dict[str, object] = {"help": help_of(option, more)}
    if option.type == "bool":
        made |= {"action": "store_true"}
    elif option.type == "list":
        made |= {"action": "append", "default": [], "type": _TYPES.get(option.elements or "", str)}
    else:
        made |= {"default": option.default, "type": _TYPES.get(option.type, str)}
    if option.choices:
        made["choices"] = (*option.choices, *also)
    parser.add_argument(*flags, flag, **(made | settings))  # type: ignore[arg-type]


def help_of(option: OptionSpec, more: str = "") -> str:
    """A description as argparse's help writes it: no capital, no full stop."""
    text = option.description.rstrip(".")
    # argparse fills %(default)s and the like into a help text: a percent sign itself is doubled.
    return "; ".join(filter(None, (text[0].lower() + text[1:], more))).replace("%", "%%")


# The options that say which partitions grow, and what may happen to those in the way.

# A p stands between a disk's name that ends with a digit and the number of its partition.
_PARTITION = re.compile(r"(?:/dev/)?(?:[a-z]+|nvme\d+n\d+p|mmcblk\d+p)?([0-9]{1,9})")


def partition_number(text: str) -> int:
    """`5`, `sda5`, `/dev/vda5`, `nvme0n1p5` as 5."""
    match = _PARTITION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a partition: write its number, or a name such as sda5"
        )
    return int(match[1])


def add_layout_options(parser: argparse.ArgumentParser) -> None:
    grows, gives_way = group_of(parser, "what grows"), group_of(parser, "what gives way")
    declare(grows, "partition", metavar="auto|N|/dev/sdaN")
    declare(grows, "grow", metavar="sdaN=SHARE", more=_EACH)
    declare(gives_way, "swap")
    declare(
        gives_way,
        "move",
        type=partition_number,
        metavar="N",
        more=f"with all that is in them; {_EACH}",
    )
    declare(gives_way, "delete", type=partition_number, metavar="N", more=_EACH)
    gives_way.add_argument(
        "--no-guest-repair",
        action="store_true",
        help="leave the guest's own files (fstab, RESUME, boot loader) as they are, whatever they "
        "name",
    )
    add_sector_size(parser)
    declare(grows, "to_gpt", more="for more than 2 TiB")


def add_sector_size(parser: argparse.ArgumentParser, more: str = "") -> None:
    declare(parser, "sector_size", choices=(512, 4096), more=more)


# The options for what lies between a partition and its file system: logical volumes, and
# passphrases.

_KEY_FILE = (
    "all bytes of FILE count, and a line break at its end may be too many; may be given several "
    "times: each container takes the one that opens it"
)
_SELECTORS = ("key", "file")


def add_volume_options(parser: argparse.ArgumentParser) -> None:
    grows = group_of(parser, "what grows")
    declare(
        grows, "lv", metavar="VG/LV[=SHARE]", more=f"if left out, the largest by all of it; {_EACH}"
    )
    declare(grows, "lv_share", metavar="60%", more="the rest stays free, for snapshots")
    add_keys(parser)


def add_others(parser: argparse.ArgumentParser) -> None:
    group_of(parser, "what grows").add_argument(
        "--with",
        dest="others",
        action="append",
        default=[],
        metavar="IMAGE[=SIZE]",
        help="another disk of the guest in the same run: one that grows as well (sdb in --grow), "
        "or one onto which a volume group reaches; may be given several times",
    )


def add_keys(parser: argparse.ArgumentParser) -> None:
    keys = group_of(parser, "passphrases")
    declare(keys, "key_file", metavar="FILE", more=_KEY_FILE)
    keys.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="PASSPHRASE|ID:key:PASSPHRASE|ID:file:FILE",
        help="the same on the command line, where others may see it; the long forms are those of "
        "virt-* tools",
    )


def keys_of(arguments: argparse.Namespace) -> tuple[bytes, ...]:
    """All passphrases that were given."""
    return (*map(read_key, arguments.key_file), *map(_selected, arguments.key))


def _selected(selector: str) -> bytes:
    """The passphrase of `ID:key:PASSPHRASE`, `ID:file:FILE` or PASSPHRASE, for every container."""
    _, first, rest = selector.partition(":")
    kind, second, value = rest.partition(":")
    # A passphrase may have colons too: only `key` or `file` as its second part makes a selector.
    if not (first and second and kind in _SELECTORS):
        return selector.encode()
    return read_key(Path(value)) if kind == "file" else value.encode()
