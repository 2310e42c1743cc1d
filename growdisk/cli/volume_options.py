"""The options for what lies between a partition and its file system: logical volumes, and passphrases."""

from __future__ import annotations

import argparse
from pathlib import Path

from growdisk.cli.common_options import group_of
from growdisk.cli.declared_options import declare
from growdisk.cli.images.keys import read_key

_KEY_FILE = (
    "all bytes of FILE count, and a line break at its end may be too many; may be given several times: each container "
    "takes the one that opens it"
)
_SELECTORS = ("key", "file")


def add_volume_options(parser: argparse.ArgumentParser) -> None:
    grows = group_of(parser, "what grows")
    declare(grows, "lv", metavar="VG/LV[=SHARE]", more="if left out, the largest by all of it")
    declare(grows, "lv_share", metavar="60%", more="the rest stays free, for snapshots")
    add_keys(parser)


def add_others(parser: argparse.ArgumentParser) -> None:
    group_of(parser, "what grows").add_argument(
        "--with", dest="others", action="append", default=[], metavar="IMAGE[=SIZE]",
        help="another disk of the guest in the same run: one that grows as well (sdb in --grow), or one onto which a "
        "volume group reaches; may be given several times",
    )  # fmt: skip


def add_keys(parser: argparse.ArgumentParser) -> None:
    keys = group_of(parser, "passphrases")
    declare(keys, "key_file", metavar="FILE", more=_KEY_FILE)
    keys.add_argument(
        "--key", action="append", default=[], metavar="PASSPHRASE|ID:key:PASSPHRASE|ID:file:FILE",
        help="the same on the command line, where others may see it; the long forms are those of virt-* tools",
    )  # fmt: skip


def keys_of(arguments: argparse.Namespace) -> tuple[bytes, ...]:
    """All passphrases that were given."""
    return (*map(read_key, arguments.key_file), *map(_selected, arguments.key))


def _selected(selector: str) -> bytes:
    """The passphrase of `ID:key:PASSPHRASE`, `ID:file:FILE` or PASSPHRASE; every container may try it."""
    _, first, rest = selector.partition(":")
    kind, second, value = rest.partition(":")
    if not (first and second and kind in _SELECTORS):
        return selector.encode()
    return read_key(Path(value)) if kind == "file" else value.encode()
