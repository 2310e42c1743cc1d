"""/etc/crypttab after a partition is gone: its line would be waited for, and what it made is known by another name.

    sda5_crypt  /dev/sda5  /dev/urandom  cipher=aes-xts-plain64,size=256,swap

Spec: crypttab(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from growdisk.backends.guest_repair.swap_identity import SwapIdentity
from growdisk.backends.guest_repair.text import change_lines

_LINE = re.compile(r"[ \t]*(?P<name>[^#\s]\S*)[ \t]+(?P<source>\S+)")
_REMOVED = "# removed by growdisk: "


def nodes_made_of(text: str, gone: SwapIdentity) -> Iterator[str]:
    """The device nodes that stand for the opened container: /dev/mapper/NAME."""
    for line in text.split("\n"):
        if (match := _LINE.match(line)) and gone.is_named_by(match["source"]):
            yield f"/dev/mapper/{match['name']}"


def without_container(text: str, gone: SwapIdentity) -> str:
    def change(line: str) -> str:
        match = _LINE.match(line)
        return _REMOVED + line if match and gone.is_named_by(match["source"]) else line

    return change_lines(text, change)
