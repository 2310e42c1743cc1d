"""A small Linux with the disk in it, in which guests are checked, grown and repaired.

It is libguestfs's, in a virtual machine (guestfs.py), or a kernel that runs as a program (uml.py).
Device names here are /dev/sda, /dev/sda1, ...
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

from growdisk.backends.appliance_growth import FilesystemTools
from growdisk.backends.guest_editor import MountedGuest
from growdisk.backends.guest_handle import DISK, Handle, Shell, guest_call
from growdisk.errors import OperationFailed, ToolFailed
from growdisk.fast_dataclass import dataclass
from growdisk.guest_systems.look import GuestMount
from growdisk.host.command import kill_all, last_lines, time_limit

_SECTOR = 512
_REREAD_TRIES = 25
_CLOSE_SECONDS = 60.0
_KEYS, _KEY = "/sysroot", "/volume-key"  # the handle writes files below /sysroot only
_ASK_DOCTOR = "growdisk doctor says what is missing on this machine"


@dataclass(eq=False)
class ApplianceFailed(OperationFailed):
    """The small Linux that works on a guest's file systems could not be started, or was lost."""

    WHAT = "{name} {failed}"
    WHY = "{reason}"
    DO = "{hint}"
    reason: str
    hint: str = _ASK_DOCTOR
    failed: str = "did not start"
    name: str = "the libguestfs appliance"


class ApplianceHangs(ApplianceFailed):
    """It was not up in time.

    Emulation sometimes hangs at the very start; another try may well succeed.
    """


class Appliance(FilesystemTools):
    """A running appliance.

    As a context manager it is closed at the end, and killed when the block fails.
    """

    table_reader = "the kernel"

    def __init__(self, handle: Handle, tag: str, disk: str, name: str) -> None:
        """`tag` is in its process's command line; `disk` is its kernel's name of the disk.

        `name` is for people.
        """
        super().__init__(Shell(handle, disk))
        self._handle, self._tag, self._name = handle, tag, name
        self._owner = threading.get_ident()
        self._open = True

    def __enter__(self) -> Appliance:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self.close()
        else:
            self.kill()

    def kernel_partitions(self) -> dict[int, tuple[int, int]]:
        """The start and size of each partition by its number, as its kernel has them; in bytes."""
        # sysfs counts in 512 bytes, also on a disk with other sectors.
        name = self._shell.disk.removeprefix("/dev/")
        script = (
            f"for p in /sys/block/{name}/{name}[0-9]*; do echo $(cat $p/partition $p/start "
            "$p/size); done"
        )
        _, answer = self._shell.run("sh", "-c", script)
        # Without a partition the pattern stands for itself: cat complains, and the line is empty.
        rows = (
            [int(field) for field in line.split()]
            # What cat complains of comes in the same stream.
            for line in answer.splitlines()
            if line[:1].isdigit()
        )
        return {number: (start * _SECTOR, size * _SECTOR) for number, start, size in rows}

    def size_of(self, device: str = DISK) -> int:
        """Bytes of a block device, by the appliance's kernel."""
        return self._shell.size_of(device)

    def reread(self) -> None:
        """Make the kernel read the table again, from our engine and not from its cache.

        Tried for a while: as long as anything inside looks at a partition (udev does at any change)
        it is busy.
        """
        # Our engine has written without this kernel: what it has cached of the disk is stale.
        self._shell.run("blockdev", "--flushbufs", DISK)
        # Logical volumes, activated at the start, would keep their partition busy.
        self._shell.run("sh", "-c", "test ! -e /sys/block/dm-0 || lvm vgchange -an; true")
        reread = f"udevadm settle; blockdev --rereadpt {self._shell.disk}"
        self._shell.run(
            "sh",
            "-c",
            f"for n in $(seq {_REREAD_TRIES}); do {reread} && exit; sleep 0.2; done; exit 1",
        )
        self._shell.run("udevadm", "settle")

    def open_luks(self, device: str, name: str, volume_key: bytes) -> None:
        """/dev/mapper/`name` is then the decrypted content.

        Its key gets in as a file in memory, and as the volume key itself: a passphrase is never
        there. Spec: cryptsetup(8).
        """
        self._synced = False
        # A resumed step opens it again in an appliance that may have it already.
        if self._shell.is_device(f"/dev/mapper/{name}"):
            return
        # In memory, and gone after the call: an appliance's own disk may be a file of the host.
        self._shell.run("mount", "-t", "tmpfs", "-o", "mode=0700", "keys", _KEYS)
        try:
            with guest_call("handing over the key"):
                self._shell.handle.write(_KEY, volume_key)
            self._shell.run("cryptsetup", "open", "--volume-key-file", _KEYS + _KEY, device, name)
        finally:
            self._shell.run("umount", _KEYS)
        self._shell.run("udevadm", "settle")

    def activate_volume(self, volume: str, owner: str = "") -> None:
        """/dev/`volume` (GROUP/VOLUME) is then there, also what only its owner would activate.

        `owner` is the system ID of the group, "" if it has none. Not the whole group: its other
        volumes may be of kinds that this kernel has no module for.
        """
        self._synced = False
        if self._shell.is_device(f"/dev/{volume}"):
            return
        self._shell.run(
            "lvm", "lvchange", *_acting_for(owner), "-ay", "--ignoreactivationskip", volume
        )
        self._shell.run("udevadm", "settle")

    def grow_physical_volume(self, device: str, owner: str = "") -> None:
        self._synced = False
        self._shell.run("lvm", "pvresize", *_acting_for(owner), device)

    def grow_logical_volume(self, group: str, volume: str, extents: int, owner: str = "") -> None:
        """To that many extents in all."""
        self._synced = False
        self._shell.run(
            "lvm", "lvextend", *_acting_for(owner), "-l", str(extents), f"{group}/{volume}"
        )

    @contextlib.contextmanager
    def mounted_guest(
        self,
        root: str,
        mounts: Sequence[GuestMount] = (),
        *,
        writable: bool = True,
        meanwhile: Callable[[], None] | None = None,
    ) -> Iterator[MountedGuest]:
        """The guest's own files, mounted inside the block: `mounts`, of which `root` is at /.

        Without `mounts`: `root`, and what its fstab mounts at /boot and the like. The files are
        whole again after the block. `meanwhile` is called when all is written; it may read the
        disk.
        """
        guest = MountedGuest(self._shell)
        # Set before the mount: also a block that fails half-way has written something.
        self._synced &= not writable
        try:
            guest.mount(root, mounts, writable=writable)
            yield guest
        finally:
            with guest_call("umount"):
                self._handle.umount_all()
        self.sync()
        if meanwhile:
            meanwhile()

    def logical_volumes(self) -> list[str]:
        """/dev/GROUP/VOLUME of all that it can reach."""
        with guest_call("lvs"):
            return self._handle.lvs()

    def sync(self) -> None:
        """After this, all that was written inside is in our engine, flushed."""
        if self._synced:  # a sync costs a fifth of a second under emulation
            return
        with guest_call("sync"):
            self._handle.sync()
        self._shell.run("blockdev", "--flushbufs", DISK)
        self._synced = True

    def close(self) -> None:
        """Unmount and sync; appliance-failed if it does not obey within a minute.

        Then there is nothing to shut down.
        """
        if not self._open:
            return
        try:
            # A call to it cannot be interrupted, but fails as soon as its process is killed.
            with time_limit(_CLOSE_SECONDS, self._tag) as limit:
                self._handle.umount_all()
                self.sync()
        except (RuntimeError, ToolFailed) as error:
            self.kill()
            reason = last_lines(str(error))
            if limit.overrun:
                reason = f"it had not ended after {_CLOSE_SECONDS:.0f} s"
            failed = "did not shut down properly"
            raise ApplianceFailed(reason, failed=failed, name=self._name) from error
        self.kill()

    def kill(self) -> None:
        """End it at once; what it had not yet written is lost. Harmless after close().

        May be called from another thread to end a call that hangs: the call fails, and its thread
        calls kill() again.
        """
        # Another thread only kills: the handle is locked as long as its call goes on.
        kill_all(self._tag)
        if self._open and threading.get_ident() == self._owner:
            self._open = False
            self._handle.close()


def _acting_for(owner: str) -> tuple[str, ...]:
    """Options that let LVM work as the system `owner`, the guest: it touches no other's groups."""
    if not owner:
        return ()
    # A string of LVM's configuration: backslash and quote have to be escaped.
    name = owner.replace("\\", "\\\\").replace('"', '\\"')
    return ("--config", f'global {{ system_id_source="lvmlocal" }} local {{ system_id="{name}" }}')
