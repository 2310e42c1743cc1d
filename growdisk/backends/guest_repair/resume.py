"""Where a guest is told to look for a hibernated system: initramfs-tools' RESUME=, and resume= for the kernel.

`RESUME=none` rather than no line: without one, update-initramfs would guess, and may pick a swap that is not there.
Specs: initramfs.conf(5), Documentation/admin-guide/kernel-parameters.txt.
"""

from __future__ import annotations

import re

from growdisk.backends.guest_repair.swap_identity import SwapIdentity
from growdisk.backends.guest_repair.text import change_lines

_ASSIGNMENT = re.compile(r"""(?P<before>[ \t]*(?:export[ \t]+)?RESUME=)(?P<value>"[^"]*"|'[^']*'|[^\s;#]*)""")
_VALUE = r"""(?P<value>(?:[^\s"'\\]|\\x[0-9a-fA-F]{2})+)"""
# With the blanks before it; at the start of a line or of a quoted string, with the blanks behind it.
_OPTIONS = {
    name: re.compile(
        rf"""(?:[ \t]+{name}={_VALUE}(?=[\s"']|$))|(?:(?:^|(?<=["'=])){name}={_VALUE2}(?=[\s"']|$)[ \t]*)"""
    )
    for name, _VALUE2 in ((name, _VALUE.replace("<value>", "<first>")) for name in ("resume", "resume_offset"))
}


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
        kept = _OPTIONS["resume"].sub(lambda match: _kept(match, swap), line)
        return line if kept == line else _OPTIONS["resume_offset"].sub("", kept)

    return change_lines(text, change)


def _kept(match: re.Match[str], swap: SwapIdentity) -> str:
    return "" if swap.is_named_by(match["value"] or match["first"]) else match[0]
