"""What a step works with: the disk, and hands that reach into the guest's file systems.

The appliance is launched when the first step needs it, once a run; the disk is served to it over NBD by this process.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.backends.volumes.keyring import Keyring
from growdisk.errors import ApplianceHangs, OperationFailed
from growdisk.steps.disk import Disk
from growdisk.steps.failures import HostWriteFailed
from growdisk.steps.place import Place, open_inside
from growdisk.workflow.stopping import StopRequest

if TYPE_CHECKING:  # what only a run needs is loaded when it launches: guestfs costs more than all of `growdisk plan`
    from growdisk.backends.guestfs import Appliance
    from growdisk.block.nbd import NbdServer

_FIRST_PATIENCE = 90.0  # seconds: a launch takes 6 to 15, and half a minute more where the appliance is built first


class Hands:
    """The libguestfs appliance on a disk, launched at first use."""

    def __init__(
        self, disk: Disk, stop: StopRequest, sector_size: int = 512, keyring: Keyring | None = None,
        places: Collection[Place] = (),
    ) -> None:  # fmt: skip
        """`places` are those that the run's steps work in, which `keyring` opens."""
        self._disk, self._stop, self._sector_size = disk, stop, sector_size
        self.keyring = keyring or Keyring()
        self._places, self._opened = places, False
        self._resources = ExitStack()
        self._server: NbdServer | None = None
        self._appliance: Appliance | None = None

    @contextmanager
    def appliance(self, activity: str) -> Iterator[Appliance]:
        """The running appliance, to do `activity` with. A failed write to the image is named as what it is."""
        try:
            yield self._appliance or self._launch()
        except OperationFailed as error:
            failure = self._server.failure if self._server else None
            if failure is not None:
                raise HostWriteFailed(self._disk.path, activity=activity, reason=str(failure)) from error
            raise

    @contextmanager
    def volumes(self, activity: str) -> Iterator[Appliance]:
        """The same, with all the run's containers and logical volumes open: only after the table was read anew."""
        with self.appliance(activity) as appliance:
            if not self._opened:
                for place in self._places:
                    open_inside(appliance, self._disk, place, self.keyring)
                self._opened = True
            yield appliance

    def check_stop(self) -> None:
        """For long work without the appliance: raises Interrupted when the user wants an end."""
        self._stop.check()

    def sync(self) -> None:
        """After this, all that was written inside is in our engine."""
        if self._appliance is not None:
            with self.appliance("writing back what the appliance holds") as appliance:
                appliance.sync()

    def close(self) -> None:
        """End the appliance in order; nothing it wrote is lost."""
        if self._appliance is not None:
            with self.appliance("ending the appliance") as appliance:
                appliance.close()
        self._release()

    def kill(self) -> None:
        """End it at once: what it holds is not wanted any more."""
        if self._appliance is not None:
            self._appliance.kill()
        self._release()

    def _launch(self) -> Appliance:
        from growdisk.backends.accelerator import accelerator
        from growdisk.backends.guestfs import Appliance
        from growdisk.block.nbd import serve

        self._stop.check()
        self._server = self._resources.enter_context(serve(self._disk))
        launch = partial(
            Appliance.launch, self._server.socket_path, accelerator=accelerator(),
            cancelled=lambda: self._stop.requested, sector_size=self._sector_size,
        )  # fmt: skip
        try:
            self._appliance = launch(timeout=_FIRST_PATIENCE)
        except ApplianceHangs:
            self._stop.check()
            self._appliance = launch()
        self._stop.callbacks.append(self._appliance.kill)
        self._stop.check()  # a request that came too late for the launch and too early for the callback
        return self._appliance

    def _release(self) -> None:
        self._stop.callbacks.clear()
        self._appliance, self._opened = None, False
        self._resources.close()
        self._server = None


@dataclass(frozen=True)
class RunContext:
    """`path` is the image as the user named it, for messages."""

    disk: Disk
    hands: Hands
    path: Path
