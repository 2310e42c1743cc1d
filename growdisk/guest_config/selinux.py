"""SELinux in a guest: whether it is on, and the label that a new file needs.

mkswap sets it if SELinux runs, as in no appliance. Without its label a swap file is not swapped on
by a guest that enforces its policy. Specs: selinux(8), selinux_config(5).
"""

from __future__ import annotations

import re

SELINUX_CONFIG = "/etc/selinux/config"
# As libselinux reads it: the first line with a mode that it knows, whatever comes after the mode.
_MODE = re.compile(r"^SELINUX=\s*(enforcing|permissive|disabled)", re.MULTILINE | re.IGNORECASE)
_SWAP_FILE = "system_u:object_r:swapfile_t:s0"


def selinux_is_on(config: str) -> bool:
    """Going by the guest's SELINUX_CONFIG, "" if it has none; without a mode it is permissive."""
    mode = _MODE.search(config)
    return bool(config) and (mode is None or mode[1].lower() != "disabled")


def swap_file_label(config: str) -> str:
    """The label of a swap file, going by the guest's SELINUX_CONFIG; "" if SELinux is off."""
    return _SWAP_FILE if selinux_is_on(config) else ""
