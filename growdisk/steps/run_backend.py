"""The backend of a run: who reaches into the guest's file systems, started at first use.

That is this machine's tools if the plan says `direct`, else an appliance, launched once a run: a
kernel that runs as a program (`uml`), or libguestfs's. The disk is served to all by this process.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.errors import OperationFailed
from growdisk.steps.device_path import DevicePath
from growdisk.steps.disk import Disk
from growdisk.steps.place_at_rest import open_inside
from growdisk.volumes.keyring import Keyring
from growdisk.workflow.stopping import StopRequest

# what only a run needs is loaded when it launches: guestfs costs more than all of `growdisk plan`
if TYPE_CHECKING:
    from growdisk.backends.appliance import Appliance
    from growdisk.backends.direct import DirectTools
    from growdisk.block.fuse import FuseFolder
    from growdisk.block.nbd import NbdServer
    from growdisk.guest_systems.look import Look
    from growdisk.steps.worker import BackendKind

    Backend = Appliance | DirectTools

_NAME = "disk"
# seconds: a launch takes 6 to 15, and half a minute more where the appliance is built first
_FIRST_PATIENCE = 90.0


class RunBackend:
    """Who works on a disk's file systems; an appliance is launched at first use."""

    def __init__(
        self,
        disk: Disk,
        stop: StopRequest,
        sector_size: int = 512,
        keyring: Keyring | None = None,
        places: Collection[DevicePath] = (),
        *,
        kind: BackendKind = "guestfs",
        extra_disks: Sequence[Disk] = (),
    ) -> None:
        """`places` are those that all steps of the run work in, which `keyring` opens.

        A kernel has the `extra_disks` as well: LVM finds there what belongs to its groups.
        """
        self._kind, self._extra_disks = kind, tuple(extra_disks)
        self._disk, self._stop, self.sector_size = disk, stop, sector_size
        self.keyring = keyring or Keyring()
        self.homes: tuple[int, Look] | None = None  # how often was written before, and what is seen
        self.places, self._opened = places, set[DevicePath]()
        self._resources = ExitStack()
        self._servers: tuple[tuple[Disk, NbdServer | FuseFolder | DirectTools], ...] = ()
        self._tools: DirectTools | None = None
        self._appliance: Appliance | None = None

    @contextmanager
    def started(self, activity: str, inside: Collection[DevicePath] = ()) -> Iterator[Backend]:
        """The backend that the plan names.

        The containers and logical volumes `inside` which it works are open; host tools have none.
        """
        if self._kind == "direct":
            with self._naming_failures(activity):
                yield self._tools or self._take_tools()
        else:
            with self.volumes(activity, *inside) as appliance:
                yield appliance

    @contextmanager
    def _naming_failures(self, activity: str) -> Iterator[None]:
        """A failed write to the image, while `activity` lasts, is named as what it is."""
        try:
            yield
        except OperationFailed as error:
            # What the tool says is a consequence: the host could not write.
            if failed := self._failed:
                reason = str(failed[1])
                raise _host_write_failed(failed[0].path, activity, reason) from error
            raise
        if failed := self._failed:  # a kernel may keep an error of its disk to itself
            raise _host_write_failed(failed[0].path, activity=activity, reason=str(failed[1]))

    @property
    def _failed(self) -> tuple[Disk, Exception] | None:
        """The first error of an image that was reported to anybody inside."""
        return next(((disk, who.failure) for disk, who in self._servers if who.failure), None)

    @contextmanager
    def volumes(self, activity: str, *places: DevicePath) -> Iterator[Appliance]:
        """The running appliance, with the containers and logical volumes at `places` open.

        To be called only after the table was read again.
        """
        with self._naming_failures(activity):
            appliance = self._appliance or self._launch()
            # Each not before something is done there: a container keeps the size that the partition
            # or volume below it had when it was opened.
            for place in places:
                if place not in self._opened:
                    open_inside(appliance, self._disk, place, self.keyring, self.sector_size)
                    self._opened.add(place)
            yield appliance

    def let_a_kernel_mount(self, kind: str, device: str) -> None:
        """Raise filesystem-unsound if a kernel cannot mount, read only, what host tools have grown.

        If an appliance did the work, it has tried that itself; if none is available, the tools' own
        verdict has to be enough.
        """
        from growdisk.backends.available import why_no_uml

        if self._kind != "direct" or why_no_uml():
            return
        other = RunBackend(self._disk, self._stop, self.sector_size, kind="uml")
        try:
            with other.volumes("looking at what was grown") as appliance:
                appliance.require_mount(kind, device)
        finally:
            other.kill()

    def check_stop(self) -> None:
        """For long work without the appliance: raises Interrupted when the user wants an end."""
        self._stop.check()

    def sync(self) -> None:
        """After this, all that was written inside is in our engine."""
        if self._tools or self._appliance:
            with self.started("writing back what was changed") as backend:
                backend.sync()

    def close(self) -> None:
        """End the appliance in order; nothing it wrote is lost."""
        if self._tools or self._appliance:
            with self.started("ending the work inside") as backend:
                backend.close()
        self._release()

    def kill(self) -> None:
        """End it at once: what it holds is not wanted any more."""
        if backend := self._tools or self._appliance:
            backend.kill()
        self._release()

    def _take_tools(self) -> DirectTools:
        from growdisk.backends.direct import DirectTools

        self._tools = DirectTools(self._disk, self._disk.path, self._disk.writes)
        self._servers = ((self._disk, self._tools),)
        self._kill_when_asked(self._tools)
        return self._tools

    def _launch(self) -> Appliance:
        self._stop.check()
        self._appliance = self._launch_kernel() if self._kind == "uml" else self._launch_machine()
        self._kill_when_asked(self._appliance)
        return self._appliance

    def _kill_when_asked(self, backend: Backend) -> None:
        self._resources.enter_context(self._stop.calling(backend.kill))
        # a request that came too late for the launch and too early for the callback
        self._stop.check()

    def _launch_kernel(self) -> Appliance:
        from growdisk.backends.uml import launch
        from growdisk.host.fuse_mount import mounted

        disks = (self._disk, *self._extra_disks)
        names = [f"{_NAME}{number or ''}" for number in range(len(disks))]
        devices = dict(zip(names, disks, strict=True))
        place, folder = self._resources.enter_context(mounted(devices, cached=False))
        # The one folder serves all disks, so its failure counts as that of the first.
        self._servers = ((self._disk, folder),)
        return launch(
            [place / name for name in names], self._flush, cancelled=lambda: self._stop.requested
        )

    def _flush(self) -> None:
        for disk in (self._disk, *self._extra_disks):
            disk.flush()

    def _launch_machine(self) -> Appliance:
        from growdisk.backends.appliance import ApplianceHangs
        from growdisk.backends.guestfs import launch
        from growdisk.block.nbd import serve
        from growdisk.host.kvm import accelerator

        servers = [
            (disk, self._resources.enter_context(serve(disk)))
            for disk in (self._disk, *self._extra_disks)
        ]
        self._servers = tuple(servers)
        socket, *others = (server.socket_path for _, server in servers)
        begin = partial(
            launch,
            socket,
            accelerator=accelerator(),
            cancelled=lambda: self._stop.requested,
            sector_size=self.sector_size,
            extra_disks=others,
        )
        try:
            # A launch that hangs is tried once more, then with the launcher's own patience.
            return begin(timeout=_FIRST_PATIENCE)
        except ApplianceHangs:
            self._stop.check()
            return begin()

    def _release(self) -> None:
        self._tools, self._appliance = None, None
        self._opened.clear()
        self._resources.close()
        self._servers = ()


def _host_write_failed(path: Path, activity: str, reason: str) -> OperationFailed:
    return OperationFailed.named(
        "host-write-failed",
        "writing to {path} failed while {activity}",
        "{reason}",
        "free some space on the host (df -h) and run the same command again",
        {"path": path, "activity": activity, "reason": reason},
    )
