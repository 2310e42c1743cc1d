"""A running guest and its host, as planning a live run needs them."""

from __future__ import annotations

from growdisk.host.free_space import HostRoom
from growdisk.live.live_disk import Arrival, Bus, LiveDisk
from growdisk.planner.live_plan import HostEnvironment
from growdisk.planner.plan import GuestConnection
from growdisk.units import GiB, MiB

VIRTIO = Bus("virtio-blk", Arrival.AT_ONCE)


DISK = LiveDisk(
    "/machine/x",
    ("disk",),
    "node",
    "guest.qcow2",
    "qcow2",
    128 * MiB,
    MiB,
    False,
    VIRTIO,
    "",
    (),
    3,
    16,
)


AROUND = HostEnvironment(
    DISK, (DISK,), memory=GiB, host=HostRoom(100 * GiB, 200 * GiB, "on /srv"), managed=False
)


WAY = GuestConnection(
    "/run/q", "", "", "/machine/x", "agent", "", "", "", "/dev/sda", allow_reboot=False
)
