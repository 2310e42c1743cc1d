"""dracut's configuration after a partition is gone.

Initrds that it makes in future no longer look for it.

    kernel_cmdline+=" resume=UUID=… "      add_device+=" /dev/disk/by-uuid/… "

host_devs is a name of dracut's own for what add_device adds to; it takes that from its settings as
well. Spec: dracut.conf(5).
"""

from __future__ import annotations

import re

from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.guest_config.resume_device import without_kernel_options
from growdisk.guest_config.text import change_lines

_DEVICES = re.compile(
    r"""(?P<before>[ \t]*(?:add_device|host_devs)\+?=)"""
    r"""(?P<quote>["']?)(?P<words>(?<=["']).*?|\S*)(?P=quote)"""
)


def without_devices(text: str, gone: RemovedPartition) -> str:
    def change(line: str) -> str:
        match = _DEVICES.match(line)
        if match is None or not any(gone.is_named_by(word) for word in match["words"].split()):
            return line
        # dracut joins such settings as they are: a blank has to stay at both ends.
        kept = "".join(f" {word}" for word in match["words"].split() if not gone.is_named_by(word))
        words = f"{match['quote']}{kept}{' ' if kept else ''}{match['quote']}"
        return match["before"] + words + line[match.end() :]

    return without_kernel_options(change_lines(text, change), gone)
