"""The disk's places inside a running guest, through a shell that is opened again after a break.

A DevicePath leads to the same place as in a guest that is off (place_at_rest.py), here by the
guest's own open devices.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from growdisk.block.device import BlockDevice
from growdisk.block.window import Window
from growdisk.errors import OperationFailed
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import Content
from growdisk.filesystems.lvm import VolumeGroupUnreadable, read_volume_group
from growdisk.filesystems.volume_group import VolumeGroup
from growdisk.live.guest_block_device import GuestBlockDevice
from growdisk.live.guest_shell import GuestShell, GuestUnreachable
from growdisk.live.guest_volumes import GuestVolumes, look_in_guest, partition_device
from growdisk.steps.device_path import DevicePath, LuksLayer, LvLayer
from growdisk.steps.failures import DeviceNotReadable
from growdisk.workflow.stopping import StopRequest


class GuestAccess:
    """The way into the guest. `open` makes a new one; GuestUnreachable if that fails."""

    def __init__(self, open_shell: Callable[[], GuestShell], stop: StopRequest) -> None:
        self._open, self._stop = open_shell, stop
        self._shell: GuestShell | None = None

    @property
    def shell(self) -> GuestShell:
        if self._shell is None:
            self._shell = self._open()
        return self._shell

    def check_stop(self) -> None:
        """Interrupted, if somebody asked for the end of it."""
        self._stop.check()

    def forget(self) -> None:
        """The next use opens a new one."""
        if self._shell is not None:
            self._shell.close()
        self._shell = None

    def wait(self, seconds: float) -> GuestShell:
        """Until the guest lets us in again."""
        deadline = time.monotonic() + seconds
        self.forget()
        while True:
            self._stop.check()
            try:
                return self.shell
            except GuestUnreachable as error:
                # A guest that starts refuses us for minutes: only the deadline makes that an error.
                if time.monotonic() > deadline:
                    raise guest_did_not_return(error.way, seconds, error.reason) from error
                time.sleep(1)


def guest_did_not_return(way: str, seconds: float, reason: str) -> OperationFailed:
    return OperationFailed.named(
        "guest-did-not-return",
        "the guest did not come back within {seconds:.0f} s",
        "{reason} (through {way})",
        "look at its console",
        {"way": way, "seconds": seconds, "reason": reason},
    )


@dataclass(frozen=True)
class GuestDevices:
    """Devices at places as the guest has them now: parts of its disk, and what it has opened."""

    seen: GuestBlockDevice
    volumes: GuestVolumes

    def device(self, place: DevicePath) -> BlockDevice:
        """DeviceNotReadable if it is not open there."""
        match place.innermost:
            case None:
                # Before the disk has grown, a place of planned size reaches beyond it.
                end = min(place.start + place.size, self.seen.size)
                return Window(self.seen, place.start, end - place.start)
            case LuksLayer(uuid):
                found = self.volumes.opened(uuid)
            case LvLayer(_, name):
                group = self.group(place.outer)
                volume = group.by_name(name) if group else None
                found = self.volumes.volume(group.uuid, volume.uuid) if group and volume else None
        if found is None:
            raise DeviceNotReadable(place.name, reason="the guest does not have it open")
        return found

    def content(self, place: DevicePath) -> Content | None:
        device = self.device(place)
        name = (
            device.device
            # A Window is a part of the disk's device: its partition is looked for by its start.
            if isinstance(device, GuestBlockDevice)
            else partition_device(self.seen, place.start)
        )
        return look_in_guest(device, name, self.volumes)

    def group(self, place: DevicePath) -> VolumeGroup | None:
        """The group whose physical volume is there; None if its metadata cannot be read."""
        try:
            return read_volume_group(self.device(place))
        except VolumeGroupUnreadable:
            return None
