"""Units of systemd that swap on, or mount, a partition that is gone.

A unit is silenced by making its file empty, which systemd takes as masked: without its What= it would go by its name.
Specs: systemd.unit(5), systemd.swap(5), systemd.mount(5).
"""

from __future__ import annotations

import re

from growdisk.guest_config.removed_partition import RemovedPartition

_WHAT = re.compile(r"^[ \t]*What[ \t]*=[ \t]*(?P<source>.*?)[ \t]*$", re.MULTILINE)


def silenced(text: str, gone: RemovedPartition) -> str:
    """The unit's file: empty where its last What= names the partition."""
    sources = [match["source"] for match in _WHAT.finditer(text)]
    return "" if sources and gone.is_named_by(sources[-1]) else text
