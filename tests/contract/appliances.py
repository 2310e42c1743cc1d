"""Both appliances on a disk that this process serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from growdisk.backends.appliance import Appliance
from growdisk.backends.guestfs import launch as launch_machine
from growdisk.backends.uml import launch as launch_kernel
from growdisk.block.fuse import FuseFolder
from growdisk.block.nbd import NbdServer, serve
from growdisk.block.raw import RawFile
from growdisk.host.fuse_mount import mounted
from growdisk.host.kvm import accelerator
from tests.e2e.process import need

KINDS = ("guestfs", "uml")


@contextmanager
def served(
    kind: str, device: RawFile
) -> Iterator[tuple[NbdServer | FuseFolder, Callable[[], Appliance]]]:
    """Who serves `device`, and what launches the appliance on it."""
    need(kind)
    if kind == "uml":
        with mounted({"disk": device}, cached=False) as (place, folder):
            yield folder, partial(launch_kernel, [place / "disk"], device.flush)
    else:
        with serve(device) as server:
            yield server, partial(launch_machine, server.socket_path, accelerator=accelerator())
