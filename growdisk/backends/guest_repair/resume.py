"""Where a guest is told to look for a hibernated system: initramfs-tools' RESUME=, and resume= for the kernel.

`RESUME=none` rather than no line: without one, update-initramfs would guess, and may pick a swap that is not there.
Specs: initramfs.conf(5), Documentation/admin-guide/kernel-parameters.txt.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from growdisk.backends.guest_repair.swap_identity import SwapIdentity
from growdisk.backends.guest_repair.text import change_lines

_ASSIGNMENT = re.compile(r"""(?P<before>[ \t]*(?:export[ \t]+)?RESUME=)(?P<value>"[^"]*"|'[^']*'|[^\s;#]*)""")
_VALUE = r"""(?P<value>[^\s"']+)(?=[\s"']|$)"""


def resume_none(text: str, swap: SwapIdentity) -> str:
    """A file of initramfs-tools with RESUME=none where it named `swap`."""

    def change(line: str) -> str:
        match = _ASSIGNMENT.match(line)
        if match is None or not swap.is_named_by(match["value"]):
            return line
        return match["before"] + "none" + line[match.end() :]

    return change_lines(text, change)


def without_resume_option(text: str, swap: SwapIdentity) -> str:
    """A boot loader's file without resume=`swap`, and without the resume_offset= that stood with it."""

    def change(line: str) -> str:
        if line.lstrip().startswith("#"):
            return line
        kept = _without_option(line, "resume", swap.is_named_by)
        return line if kept == line else _without_option(kept, "resume_offset", lambda _: True)

    return change_lines(text, change)


def _without_option(line: str, name: str, is_stale: Callable[[str], bool]) -> str:
    """The line without name=VALUE, with the blanks before it; at a start, with the blanks behind it."""
    later = rf"[ \t]+{name}={_VALUE}"
    first = rf"""(?:^|(?<=["'=])){name}={_VALUE}[ \t]*"""
    for pattern in (later, first):
        line = re.sub(pattern, lambda match: "" if is_stale(match["value"]) else match[0], line)
    return line
