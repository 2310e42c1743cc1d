"""SELinux in a guest: the label that a new file needs.

mkswap sets it if SELinux runs, as in no appliance. Without its label a swap file is not swapped on
by a guest that enforces its policy. Specs: selinux(8), selinux_config(5).
"""

from __future__ import annotations

import re

SELINUX_CONFIG = "/etc/selinux/config"
_IS_ON = re.compile(r"^\s*SELINUX\s*=\s*(?:enforcing|permissive)\s*$", re.MULTILINE)
_SWAP_FILE = "system_u:object_r:swapfile_t:s0"


def swap_file_label(config: str) -> str:
    """The label of a swap file, going by the guest's SELINUX_CONFIG; "" if SELinux is off."""
    return _SWAP_FILE if _IS_ON.search(config) else ""
