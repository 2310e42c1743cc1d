"""LVM of a host, in a kernel that runs as a program."""

from __future__ import annotations

from collections.abc import Callable

# lvm looks for modules in one place only; what would check a pool at its start may not be
# installed.
_LVM = """
modprobe -d /uml dm-thin-pool
echo 'global { thin_check_executable="" }' >>/etc/lvm/lvm.conf
mkdir -p /run/m
"""


GuestAccess = Callable[[str], str]
