"""/etc/crypttab after a partition is gone: its line would be waited for.

What it made has another name, which is gone too.

    sda5_crypt  /dev/sda5  /dev/urandom  cipher=aes-xts-plain64,size=256,swap

Spec: crypttab(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.guest_config.text import change_lines

_LINE = re.compile(r"[ \t]*(?P<name>[^#\s]\S*)[ \t]+(?P<source>\S+)")
_FIELDS = re.compile(
    r"[ \t]*[^#\s]\S*[ \t]+(?P<source>\S+)[ \t]+(?P<key>\S+)[ \t]+(?P<options>\S+)"
)
_RANDOM = frozenset({"/dev/urandom", "/dev/random", "/dev/hwrng"})
_REMOVED = "# removed by growdisk: "


def nodes_made_of(text: str, gone: RemovedPartition) -> Iterator[str]:
    """The device nodes that stand for the opened container: /dev/mapper/NAME."""
    for line in text.split("\n"):
        if (match := _LINE.match(line)) and gone.is_named_by(match["source"]):
            yield f"/dev/mapper/{match['name']}"


def is_random_swap(text: str, part: RemovedPartition) -> bool:
    """Whether it makes swap of `part` at each start, with a key that nobody knows."""
    lines = (match for line in text.split("\n") if (match := _FIELDS.match(line)))
    own = [match for match in lines if part.is_named_by(match["source"])]
    # All of its lines: one with a key that is kept would be somebody's data.
    return bool(own) and all(m["key"] in _RANDOM and "swap" in m["options"].split(",") for m in own)


def without_container(text: str, gone: RemovedPartition) -> str:
    def change(line: str) -> str:
        match = _LINE.match(line)
        return _REMOVED + line if match and gone.is_named_by(match["source"]) else line

    return change_lines(text, change)
