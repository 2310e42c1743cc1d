"""The libguestfs appliance: a small Linux that checks, grows and repairs what is in an image. Sole `import guestfs`.

It sees the image as /dev/sda, over NBD from this very process, so no line here names an image file; python3-guestfs
lets other threads run during its calls, else the appliance would wait for the server and the server for the call.
Device names inside are /dev/sda, /dev/sda1, ...
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import guestfs

from growdisk.backends import ext_growth
from growdisk.backends.accelerator import Accelerator
from growdisk.backends.appliance_values import FilesystemCheck, KernelPartition
from growdisk.backends.appliance_volumes import ApplianceVolumes
from growdisk.backends.command import last_lines
from growdisk.backends.guest_editor import MountedEditor
from growdisk.backends.guest_handle import DISK, Handle, Shell, guest_call
from growdisk.backends.watchdog import kill_children, time_limit
from growdisk.errors import ApplianceFailed, ApplianceHangs, ToolFailed

_SECTOR = 512
_REREAD_TRIES = 25
_LABEL = "growdisk"
_MEMORY_MIB = 768  # resize2fs of a 2 TiB file system stays below; an empty appliance takes 100
_FIRST_LAUNCH_SECONDS = 300.0  # building the appliance once takes half a minute, booting it 5 to 15 s
_CLOSE_SECONDS = 60.0
_CONSOLE_LINES = 60
# Measured under emulation: faster RCU and no cleared pages save an eighth of the launch. Nothing untrusted runs inside.
_KERNEL_OPTIONS = "rcupdate.rcu_expedited=1 init_on_alloc=0 mitigations=off nokaslr audit=0"


class Appliance:
    """A running appliance. As a context manager it is closed at the end, and killed when the block fails."""

    table_reader = "the kernel"

    def __init__(self, handle: Handle, tag: str) -> None:
        self._handle, self._tag = handle, tag
        self._shell = Shell(handle, _LABEL)
        self._owner = threading.get_ident()
        self._open, self._synced = True, True
        self._superblocks: dict[str, ext_growth.Superblock] = {}  # of what was checked: each look costs 0.2 s

    @classmethod
    def launch(
        cls, socket: Path, *, accelerator: Accelerator, timeout: float = _FIRST_LAUNCH_SECONDS,
        cancelled: Callable[[], bool] = lambda: False, sector_size: int = 512,
    ) -> Appliance:  # fmt: skip
        """Start it on the NBD server at `socket`. ApplianceFailed, with the reason, at the latest after `timeout`, and
        soon after `cancelled` has become true."""
        handle: Handle = guestfs.GuestFS(python_return_dict=True)
        console: deque[str] = deque(maxlen=_CONSOLE_LINES)
        with contextlib.ExitStack() as undo:
            undo.callback(handle.close)
            _configure(handle, socket, accelerator, sector_size)
            handle.set_event_callback(
                lambda _event, _handle, text, _array: console.extend(text.splitlines()),
                guestfs.EVENT_APPLIANCE | guestfs.EVENT_LIBRARY,
            )
            with time_limit(timeout, str(socket), "supermin", cancelled=cancelled) as limit:
                try:
                    handle.launch()
                except RuntimeError as error:
                    raise _launch_failure(str(error), console, timeout if limit.overrun else None) from error
            appliance = cls(handle, str(socket))
            undo.pop_all()
        return appliance

    def __enter__(self) -> Appliance:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.kill()

    def kernel_partitions(self) -> list[KernelPartition]:
        """What the appliance's kernel made of the partition table, in the order of the numbers."""
        name = self._shell.disk.removeprefix("/dev/")
        script = f"for p in /sys/block/{name}/{name}[0-9]*; do echo $(cat $p/partition $p/start $p/size); done"
        _, answer = self._shell.run("sh", "-c", script)
        rows = sorted([int(field) for field in line.split()] for line in answer.splitlines() if line[0].isdigit())
        return [KernelPartition(f"sda{number}", start * _SECTOR, size * _SECTOR) for number, start, size in rows]

    def disk_size(self) -> int:
        _, answer = self._shell.run("blockdev", "--getsize64", DISK)
        return int(answer)

    def reread(self) -> None:
        """Make the kernel read the table anew, from our engine and not from its cache.

        Tried for a while: as long as anything inside looks at a partition (udev does at any change) it is busy.
        """
        self._shell.run("blockdev", "--flushbufs", DISK)
        # Logical volumes, which the appliance activates when it starts, would keep their partition busy.
        self._shell.run("sh", "-c", "test ! -e /sys/block/dm-0 || lvm vgchange -an; true")
        reread = f"udevadm settle; blockdev --rereadpt {self._shell.disk}"
        self._shell.run("sh", "-c", f"for n in $(seq {_REREAD_TRIES}); do {reread} && exit; sleep 0.2; done; exit 1")
        self._shell.run("udevadm", "settle")

    def check_ext(self, device: str, *, repair: bool = False) -> FilesystemCheck:
        """e2fsck: mends what is safe without asking; everything with `repair`. Damage that stays is a value."""
        self._synced = False
        superblock = self._superblocks[device] = ext_growth.read_superblock(self._shell, device)
        return ext_growth.check(self._shell, device, superblock, repair=repair)

    def resize_ext(self, device: str, size: int | None = None) -> str:
        """Grow an ext2/3/4, after check_ext(), to `size` bytes or to its device. Returns what resize2fs said."""
        self._synced = False
        superblock = self._superblocks.pop(device, None) or ext_growth.read_superblock(self._shell, device)
        return ext_growth.grow(self._shell, device, superblock, size)

    def grow_filesystem(self, kind: str, device: str, device_id: int = 1) -> str:
        return self.volumes.grow_filesystem(kind, device, device_id)

    @property
    def volumes(self) -> ApplianceVolumes:
        """LUKS, LVM, and the file systems that are not ext. What is asked of it may write."""
        self._synced = False
        return ApplianceVolumes(self._shell)

    def make_swap(self, device: str, *, uuid: str | None = None, label: str | None = None) -> None:
        self._synced = False
        identity = [*(["-U", uuid] if uuid else []), *(["-L", label] if label else [])]
        self._shell.run("mkswap", *identity, device)

    @contextlib.contextmanager
    def mounted_guest(self, root: str, *, writable: bool = True) -> Iterator[MountedEditor]:
        """The guest's own files, with `root` as / and /boot where its fstab has one. Unmounted and synced after."""
        guest = MountedEditor(self._shell)
        self._synced &= not writable
        try:
            guest.mount(root, writable=writable)
            yield guest
        finally:
            with guest_call("umount"):
                self._handle.umount_all()
        self.sync()

    def logical_volumes(self) -> list[str]:
        """/dev/GROUP/VOLUME of all that are active."""
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
        """Unmount and sync; ApplianceFailed if it does not obey within a minute. Then there is nothing to shut down."""
        if not self._open:
            return
        try:
            with time_limit(_CLOSE_SECONDS, self._tag) as limit:
                self._handle.umount_all()
                self.sync()
        except (RuntimeError, ToolFailed) as error:
            self.kill()
            reason = f"it had not ended after {_CLOSE_SECONDS:.0f} s" if limit.overrun else last_lines(str(error))
            raise ApplianceFailed(reason, failed="did not shut down properly") from error
        self.kill()

    def kill(self) -> None:
        """End it at once; what it had not yet written is lost. Harmless after close().

        May be called from another thread to end a call that hangs: the call fails, and its thread calls kill() again.
        """
        kill_children((self._tag,))
        if threading.get_ident() == self._owner:
            self._let_go()

    def _let_go(self) -> None:
        if self._open:
            self._open = False
            self._handle.close()


def _configure(handle: Handle, socket: Path, accelerator: Accelerator, sector_size: int) -> None:
    handle.set_backend("direct")  # libvirt, the other one, would not let qemu reach our socket
    if not accelerator.has_kvm:
        handle.set_backend_setting("force_tcg", "1")
    handle.set_network(False)
    handle.set_memsize(_MEMORY_MIB)
    handle.set_smp(1)  # a second processor costs more to emulate than it helps: nothing here has threads
    handle.set_append(_KERNEL_OPTIONS)
    handle.set_pgroup(True)  # a Ctrl-C at the terminal is for growdisk to handle
    sectors = {} if sector_size == _SECTOR else {"blocksize": sector_size}
    handle.add_drive("", format="raw", protocol="nbd", server=[f"unix:{socket}"], label=_LABEL, **sectors)


def _launch_failure(error: str, console: deque[str], overrun: float | None) -> ApplianceFailed:
    """The reason in what libguestfs, supermin and qemu said, most telling first."""
    said = "\n".join(console)
    if overrun is not None:
        return ApplianceHangs(f"it was not up after {overrun:.0f} s; last seen: {last_lines(said) or 'nothing'}")
    if match := re.search(r"(/boot/vmlinu\S+).*Permission denied", said):
        return ApplianceFailed(f"this user may not read {match[1].rstrip(':')}", hint="sudo chmod +r /boot/vmlinu*")
    if "failed to find a suitable kernel" in said:
        return ApplianceFailed("there is no kernel in /boot", hint="sudo apt-get install linux-image-cloud-amd64")
    telling = [line for line in console if re.search(r"qemu-system|supermin: (error|failure)|Kernel panic", line)]
    return ApplianceFailed(last_lines("\n".join(telling)) or last_lines(said) or last_lines(error))
