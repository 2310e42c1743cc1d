"""Starts the libguestfs appliance (see appliance.py). Sole `import guestfs`.

It sees the image as /dev/sda, over NBD from this very process, so no line here names an image file;
python3-guestfs lets other threads run during its calls, else the appliance would wait for the
server and the server for the call. Device names inside are /dev/sda, /dev/sda1, ...
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from growdisk.backends.appliance import Appliance, ApplianceFailed, ApplianceHangs
from growdisk.backends.guest_handle import DISK, Handle, Shell
from growdisk.durable import scratch_folder
from growdisk.errors import OperationFailed, ToolMissing
from growdisk.host.command import last_lines, time_limit
from growdisk.host.kvm import Accelerator

try:
    import guestfs
except ImportError as error:
    raise ToolMissing("libguestfs from Python", "python3-guestfs") from error

_SECTOR = 512
_LABEL = "growdisk"
_MEMORY_MIB = 768  # resize2fs of a 2 TiB file system stays below; an empty appliance takes 100
# Building the appliance once takes half a minute, booting it 5 to 15 s.
_FIRST_LAUNCH_SECONDS = 300.0
_CONSOLE_LINES = 60
# Under emulation faster RCU and no cleared pages save an eighth; nothing untrusted runs inside.
_KERNEL_OPTIONS = "rcupdate.rcu_expedited=1 init_on_alloc=0 mitigations=off nokaslr audit=0"


class LaunchHandle(Handle, Protocol):
    """And what is used of it before it runs."""

    def set_backend(self, backend: str) -> None: ...
    def set_backend_setting(self, name: str, value: str) -> None: ...
    def set_network(self, network: bool) -> None: ...
    def set_memsize(self, memsize: int) -> None: ...
    def set_smp(self, smp: int) -> None: ...
    def set_append(self, append: str) -> None: ...
    def set_tmpdir(self, tmpdir: str) -> None: ...
    def set_pgroup(self, pgroup: bool) -> None: ...
    def set_event_callback(
        self, callback: Callable[[int, int, str, list[int]], None], event_bitmask: int
    ) -> int: ...
    def add_drive(
        self,
        filename: str,
        *,
        format: str,
        protocol: str,
        server: list[str],
        label: str,
        blocksize: int = ...,
    ) -> None: ...
    def launch(self) -> None: ...


def launch(
    socket: Path,
    *,
    accelerator: Accelerator,
    timeout: float = _FIRST_LAUNCH_SECONDS,
    cancelled: Callable[[], bool] = lambda: False,
    sector_size: int = 512,
    extra_disks: Sequence[Path] = (),
) -> Appliance:
    """Start it on the NBD server at `socket`.

    appliance-failed, with the reason, at the latest after `timeout`, and soon after `cancelled` has
    become true. `extra_disks`: the sockets of further disks of the guest, for LVM to find.
    """
    handle: LaunchHandle = guestfs.GuestFS(python_return_dict=True)
    console: deque[str] = deque(maxlen=_CONSOLE_LINES)
    with contextlib.ExitStack() as undo:
        # Any failure before the appliance is returned ends QEMU again.
        undo.callback(handle.close)
        # What libguestfs leaves there if growdisk is killed goes with that folder.
        handle.set_tmpdir(str(socket.parent))
        _configure(handle, accelerator)
        for number, served in enumerate((socket, *extra_disks)):
            _add_disk(handle, served, _LABEL + number * "x", sector_size)
        handle.set_event_callback(
            lambda _event, _handle, text, _array: console.extend(text.splitlines()),
            guestfs.EVENT_APPLIANCE | guestfs.EVENT_LIBRARY,
        )
        # QEMU has the socket in its command line; supermin, which may build first, has not.
        with time_limit(timeout, str(socket), "supermin", cancelled=cancelled) as limit:
            try:
                with _TEMPORARY_FILES.kept_together():
                    handle.launch()
            except RuntimeError as error:
                raise _launch_failure(
                    str(error), console, timeout if limit.overrun else None
                ) from error
        # Kernels name disks, of which one is the appliance's own, as they answer: the label tells.
        _, disk = Shell(handle, DISK).run("readlink", "-e", f"/dev/disk/guestfs/{_LABEL}")
        appliance = Appliance(handle, str(socket), disk.strip(), "the libguestfs appliance")
        undo.pop_all()
    return appliance


class _TemporaryFiles:
    """A folder for the files of QEMU and supermin during a launch, removed afterwards.

    A QEMU that is killed leaves a file that nobody would know. TMPDIR says where, and a process
    has one of it: all threads that launch at the time share the folder.
    """

    def __init__(self) -> None:
        self._lock, self._users, self._undo = threading.Lock(), 0, contextlib.ExitStack()

    @contextlib.contextmanager
    def kept_together(self) -> Iterator[None]:
        with self._lock:
            if not self._users:
                # The first one in sets TMPDIR, the last one out removes it.
                self._open()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._undo.close()

    def _open(self) -> None:
        before = os.environ.get("TMPDIR")
        folder = scratch_folder("growdisk-launch-", before or "/var/tmp")
        os.environ["TMPDIR"] = str(self._undo.enter_context(folder))
        if before is None:
            self._undo.callback(os.environ.pop, "TMPDIR", None)
        else:
            self._undo.callback(os.environ.__setitem__, "TMPDIR", before)


_TEMPORARY_FILES = _TemporaryFiles()


def _configure(handle: LaunchHandle, accelerator: Accelerator) -> None:
    handle.set_backend("direct")  # libvirt, the other one, would not let qemu reach our socket
    if not accelerator.has_kvm:
        handle.set_backend_setting("force_tcg", "1")
    handle.set_network(False)
    handle.set_memsize(_MEMORY_MIB)
    # A second processor costs more to emulate than it helps: nothing here has threads.
    handle.set_smp(1)
    handle.set_append(_KERNEL_OPTIONS)
    handle.set_pgroup(True)  # a Ctrl-C at the terminal is for growdisk to handle


def _add_disk(handle: LaunchHandle, socket: Path, label: str, sector_size: int) -> None:
    """`label` is letters only: digits would be read as a partition."""
    sectors = {} if sector_size == _SECTOR else {"blocksize": sector_size}
    handle.add_drive(
        "", format="raw", protocol="nbd", server=[f"unix:{socket}"], label=label, **sectors
    )


def _launch_failure(error: str, console: deque[str], overrun: float | None) -> OperationFailed:
    """The reason in what libguestfs, supermin and qemu said, the plainest first."""
    output = "\n".join(console)
    if overrun is not None:
        return ApplianceHangs(
            f"it was not up after {overrun:.0f} s; last seen: {last_lines(output) or 'nothing'}"
        )
    # Ubuntu installs its kernels so that root alone can read them.
    if match := re.search(r"(/boot/vmlinu\S+).*Permission denied", output):
        reason = f"this user may not read {match[1].rstrip(':')}"
        return ApplianceFailed(reason, "sudo chmod +r /boot/vmlinu*")
    if "failed to find a suitable kernel" in output:
        reason = "there is no kernel in /boot"
        return ApplianceFailed(reason, "sudo apt-get install linux-image-cloud-amd64")
    telling = [
        line
        for line in console
        if re.search(r"qemu-system|supermin: (error|failure)|Kernel panic", line)
    ]
    reason = last_lines("\n".join(telling)) or last_lines(output) or last_lines(error)
    return ApplianceFailed(reason)
