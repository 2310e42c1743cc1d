"""Where a guest's start is told to wait for a partition: initramfs-tools' RESUME=, resume= and others for the kernel.

`RESUME=none` rather than no line: without one, update-initramfs would guess, and may pick a swap that is not there.
Specs: initramfs.conf(5), Documentation/admin-guide/kernel-parameters.txt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.guest_config.text import change_lines

_ASSIGNMENT = re.compile(r"""(?P<before>[ \t]*(?:export[ \t]+)?RESUME=)(?P<value>"[^"]*"|'[^']*'|[^\s;#]*)""")
_VALUE = r"""(?P<value>"[^"\s]*"|'[^'\s]*'|[^\s"']+(?=[\s"']|$))"""


def resume_none(text: str, swap: RemovedPartition) -> str:
    """A file of initramfs-tools with RESUME=none where it named `swap`."""

    def change(line: str) -> str:
        match = _ASSIGNMENT.match(line)
        if match is None or not swap.is_named_by(match["value"]):
            return line
        return match["before"] + "none" + line[match.end() :]

    return change_lines(text, change)


def without_resume_option(text: str, swap: RemovedPartition) -> str:
    """A boot loader's file without resume=`swap`, and without the resume_offset= that stood with it."""

    def change(line: str) -> str:
        kept = _without_option(line, "resume", swap.is_named_by)
        return line if kept == line else _without_option(kept, "resume_offset", lambda _: True)

    return change_lines(text, lambda line: line if line.lstrip().startswith("#") else change(line))


def without_kernel_options(text: str, gone: RemovedPartition) -> str:
    """Without resume=, and without waiting for a container or volume that was in the partition: rd.luks.uuid=, …"""

    def change(line: str) -> str:
        if line.lstrip().startswith("#"):
            return line
        for name, names_it in _WAITS.items():
            line = _without_option(line, re.escape(name), partial(names_it, gone))
        return line

    return without_resume_option(change_lines(text, change), gone)


def _is_container(swap: RemovedPartition, value: str) -> bool:
    """luks-UUID, UUID, or UUID=NAME."""
    return swap.is_named_by(f"UUID={value.removeprefix('luks-').partition('=')[0]}")


def _is_volume(swap: RemovedPartition, value: str) -> bool:
    return swap.is_named_by(f"/dev/{value}")


def _is_source(swap: RemovedPartition, value: str) -> bool:
    """target=NAME,source=DEVICE,…"""
    return any(
        swap.is_named_by(word.removeprefix("source=")) for word in value.split(",") if word.startswith("source=")
    )


def _is_first_field(swap: RemovedPartition, value: str) -> bool:
    """DEVICE:OPTIONS"""
    return swap.is_named_by(value.partition(":")[0])


_WAITS: Mapping[str, Callable[[RemovedPartition, str], bool]] = MappingProxyType(
    {
        "rd.luks.uuid": _is_container, "luks.uuid": _is_container, "rd.luks.name": _is_container,
        "luks.name": _is_container, "rd.lvm.lv": _is_volume, "cryptopts": _is_source, "cryptdevice": _is_first_field,
        "systemd.swap-extra": _is_first_field, "systemd.swap_extra": _is_first_field,
    }
)  # fmt: skip


def _without_option(line: str, name: str, is_stale: Callable[[str], bool]) -> str:
    """The line without name=VALUE, with the blanks before it; at a start, with the blanks behind it."""
    later = rf"[ \t]+{name}={_VALUE}"
    first = rf"""(?:^|(?<=["'=])){name}={_VALUE}[ \t]*"""
    for pattern in (later, first):
        line = re.sub(pattern, lambda match: "" if is_stale(match["value"]) else match[0], line)
    return line
