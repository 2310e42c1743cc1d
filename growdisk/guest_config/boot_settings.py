"""Where a guest's start waits for a partition: initramfs-tools' RESUME=, kernel options, dracut.

The options are resume= and others. `RESUME=none` rather than no line: without one,
update-initramfs would guess, and may pick a swap that is not there. Specs: initramfs.conf(5),
Documentation/admin-guide/kernel-parameters.txt, dracut.conf(5).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from growdisk.fast_dataclass import replace
from growdisk.guest_config.files import change_lines
from growdisk.guest_config.removed_partition import RemovedPartition

_TAG = "(?:(?:PART)?(?:UUID|LABEL)=)?"  # quotes may begin after it: LABEL="my swap"
_ASSIGNMENT = (
    rf"""(?P<before>[ \t]*(?:export[ \t]+)?RESUME=)"""
    rf"""(?P<value>{_TAG}(?:"[^"]*"|'[^']*')|(?:\\[ ]|[^\s;#])*)"""
)
# A value in quotes, also in those that a shell's string has escaped: "resume=\"LABEL=my swap\"".
_QUOTED = r"""(?:"[^"]*"|'[^']*'|\\"[^"\\]*\\")"""
# One without quotes ends at a blank, a quote or a semicolon. An escaped blank belongs to it; a
# backslash before a quote ends it.
# No device's name is as long as this bound, without which a line could take for ever.
_BARE = r"""(?:\\[ \\]|[^\s"'\\;]|\\(?=[^\s"'])){1,512}(?=[\s"';]|\\["']|$)"""
_VALUE = f"(?P<value>{_TAG}{_QUOTED}|{_BARE})"
# All of resume=LABEL=my swap in quotes.
_WITH_BLANKS = r"""(?P<value>[^"'\s]{1,512}[ ][^"']{0,512})(?=["'])"""


def resume_none(text: str, gone: RemovedPartition) -> str:
    """A file of initramfs-tools with RESUME=none if it named `gone`."""

    def change(line: str) -> str:
        match = re.match(_ASSIGNMENT, line)
        if match is None or not _is_named(gone, match["value"]):
            return line
        return match["before"] + "none" + line[match.end() :]

    return change_lines(text, change)


def without_resume_option(text: str, gone: RemovedPartition) -> str:
    """A boot loader's file without resume=`gone` and the resume_offset= that belongs to it."""

    def change(line: str) -> str:
        kept = line
        # The offset is of a swap file in that very device: without its resume= it would be
        # another's.
        for name in RESUMES:
            kept = _without_option(kept, name, partial(_is_named, gone))
        return line if kept == line else _without_option(kept, "resume_offset", lambda _: True)

    return change_lines(text, lambda line: line if line.lstrip().startswith("#") else change(line))


def without_kernel_options(text: str, gone: RemovedPartition) -> str:
    """`text` without resume=, and without options that wait for something in the partition.

    That is a container or a volume: rd.luks.uuid=, …
    """
    # rd.luks.name=UUID=NAME gives a name that other options of the same file use: it comes first.
    gone = replace(gone, mapped=(*gone.mapped, *nodes_opened(text, gone)))

    def change(line: str) -> str:
        if "=" not in line or line.lstrip().startswith("#"):
            return line
        for name, names_it in _WAITS.items():
            line = _without_option(line, name, partial(names_it, gone))
        return line

    return without_resume_option(change_lines(text, change), gone)


def nodes_opened(text: str, gone: RemovedPartition) -> Iterator[str]:
    """Device nodes that kernel options give to a container in it: rd.luks.name=UUID=NAME."""
    lines = (line for line in text.split("\n") if "luks" in line or "crypt" in line)
    options = (
        found
        for line in lines
        if not line.lstrip().startswith("#")
        for found in re.finditer(_OPTIONS, line)
    )
    for option, value in (match.group("option", "value") for match in options):
        if (
            option in _NODES
            and _WAITS[option](gone, value)
            and (name := re.search(_NODES[option], value))
        ):
            yield f"/dev/mapper/{name[1]}"
        elif option in _UNNAMED and _is_container(gone, value):
            yield f"/dev/mapper/luks-{value.removeprefix('luks-')}"


def _is_container(gone: RemovedPartition, value: str) -> bool:
    """luks-UUID, UUID, or UUID=NAME; of a partition its own."""
    value = value.removeprefix("luks-").partition("=")[0]
    return gone.is_named_by(f"UUID={value}") or gone.is_named_by(f"PARTUUID={value}")


def _is_volume(gone: RemovedPartition, value: str) -> bool:
    return gone.is_named_by(f"/dev/{value}")


def _is_source(gone: RemovedPartition, value: str) -> bool:
    """target=NAME,source=DEVICE,…"""
    return any(
        gone.is_named_by(word.removeprefix("source="))
        for word in value.split(",")
        if word.startswith("source=")
    )


def _is_first_field(gone: RemovedPartition, value: str) -> bool:
    """DEVICE:OPTIONS"""
    return gone.is_named_by(value.partition(":")[0])


_OPTIONS = r"""(?<![\w.])(?P<option>[\w.]+)=(?P<value>[^\s"';\\]+)"""
_NODES: Mapping[str, str] = {
    "rd.luks.name": "=(.+)",
    "luks.name": "=(.+)",
    "cryptdevice": ":([^:]+)",
    "cryptopts": "target=([^,]+)",
}
# Of the value of each, the name under which it is opened; others are opened by their UUID.
_UNNAMED = frozenset({"rd.luks.uuid", "luks.uuid"})
RESUMES = ("resume", "real_resume", "resume2")
"""Names of options whose value is the device that is resumed from; of the last, swap:DEVICE."""
CONTAINERS = (
    "rd.luks.uuid",
    "luks.uuid",
    "rd.luks.name",
    "luks.name",
    "rd.luks.partuuid",
    "luks.options",
    "rd.luks.options",
)
VOLUMES, SOURCES = ("rd.lvm.lv",), ("cryptopts",)
FIRST_FIELDS = (
    "cryptdevice",
    "systemd.swap-extra",
    "systemd.swap_extra",
    "systemd.mount-extra",
    "systemd.mount_extra",
)
_WAITS: Mapping[str, Callable[[RemovedPartition, str], bool]] = {
    **dict.fromkeys(CONTAINERS, _is_container),
    **dict.fromkeys(VOLUMES, _is_volume),
    **dict.fromkeys(SOURCES, _is_source),
    **dict.fromkeys(FIRST_FIELDS, _is_first_field),
}


def _is_named(gone: RemovedPartition, value: str) -> bool:
    """Whatever a shell, or GRUB, takes away from it first."""
    value = value.removeprefix("swap:")
    return gone.is_named_by(value) or gone.is_named_by(re.sub(_ESCAPED, r"\1", value))


_ESCAPED = r"""\\([ "\\])"""


def _without_option(line: str, name: str, is_stale: Callable[[str], bool]) -> str:
    """The line without name=VALUE and the blanks before it, or after it at a start."""
    # Hardly a line has it, and searching takes longer.
    if f"{name}=" not in line:
        return line
    name = re.escape(name)
    # `set` or `export` alone would list all variables: such a one stays, empty.
    assigned = rf"(?<![\w.-])(?P<empty>(?:set|export)[ \t]+{name}=){_VALUE}"
    line = re.sub(assigned, lambda m: m["empty"] if is_stale(m["value"]) else m[0], line)
    start = r"""(?:^|(?<=["'=]))"""
    later = rf"(?<![ \t])[ \t]+{name}={_VALUE}"
    # With the blanks before it, or at a start with those after it, or whole in quotes.
    for pattern in (later, rf"{start}{name}={_VALUE}[ \t]*", rf"{start}{name}={_WITH_BLANKS}"):
        line = re.sub(pattern, lambda match: "" if is_stale(match["value"]) else match[0], line)
    return line


# dracut's own settings. host_devs is its name for what add_device adds to; it takes that from its
# settings as well:
#
#    kernel_cmdline+=" resume=UUID=… "      add_device+=" /dev/disk/by-uuid/… "
_DRACUT_DEVICES = (
    r"""(?P<before>[ \t]*(?:add_device|host_devs)\+?=)"""
    r"""(?P<quote>["']?)(?P<words>(?<=["']).*?|\S*)(?P=quote)"""
)


def without_dracut_devices(text: str, gone: RemovedPartition) -> str:
    """dracut.conf, so that initrds that it makes in future do not look for the partition."""

    def change(line: str) -> str:
        match = re.match(_DRACUT_DEVICES, line)
        if match is None or not any(gone.is_named_by(word) for word in match["words"].split()):
            return line
        # dracut joins such settings as they are: a blank has to stay at both ends.
        kept = "".join(f" {word}" for word in match["words"].split() if not gone.is_named_by(word))
        words = f"{match['quote']}{kept}{' ' if kept else ''}{match['quote']}"
        return match["before"] + words + line[match.end() :]

    return without_kernel_options(change_lines(text, change), gone)
