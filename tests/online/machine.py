"""Running guests to grow: Debian, booted once and woken from a snapshot; bare machines.

A boot under emulation takes most of a minute; a guest that has booted is kept in the cache with its
memory, one for each kind of disk, and every test wakes a copy of its own within seconds.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from growdisk.live.qemu_machine import Machine
from growdisk.live.qmp import QmpMonitor
from tests.e2e.boot import EMULATED_CPU, Doors, RunningGuest, connected, free_port
from tests.e2e.process import await_true
from tests.guests.cache import cached
from tests.guests.classic import classic_guest
from tests.guests.firmware import halting
from tests.guests.full import full_guest
from tests.guests.tools import environment, run

BOOTED = "booted"
DISKS = {
    "scsi": ("-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=disk"),
    "blk": ("-device", "virtio-blk-pci,drive=disk"),
    "ide": ("-device", "ide-hd,drive=disk"),
    "nvme": ("-device", "nvme,drive=disk,serial=n1"),
    "sata": ("-device", "ich9-ahci,id=ahci", "-device", "ide-hd,drive=disk,bus=ahci.0"),
    "usb": ("-device", "qemu-xhci", "-device", "usb-storage,drive=disk"),
}
_FULL_KERNEL = ("sata", "usb")  # Debian's cloud kernel has no driver for them


@dataclass(frozen=True)
class Sockets:
    """`qmp` is for growdisk, `own` is the test's own monitor."""

    folder: Path
    ssh_port: int

    @property
    def qmp(self) -> Path:
        return self.folder / "qmp"

    @property
    def own(self) -> Path:
        return self.folder / "own"

    @property
    def agent(self) -> Path:
        return self.folder / "agent"

    @property
    def console(self) -> Path:
        return self.folder / "console"


class LiveGuest(RunningGuest):
    """A guest that runs, with all doors open."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        console: socket.socket,
        sockets: Sockets,
        image: Path,
    ) -> None:
        super().__init__(process, console, Doors(sockets.ssh_port, sockets.agent, sockets.qmp))
        self.process, self.sockets, self.image = process, sockets, image

    @contextmanager
    def monitor(self) -> Iterator[Machine]:
        """The test's own monitor."""
        # an encrypted disk is opened before the first answer, which takes the processor seconds
        machine = Machine(QmpMonitor.connect(self.sockets.own, patience=120), "test")
        try:
            yield machine
        finally:
            machine.close()

    def pull_the_plug(self) -> None:
        """A power cut."""
        self.process.kill()
        self.process.wait()


@contextmanager
def started(
    image: Path,
    image_format: str = "qcow2",
    disk: str = "scsi",
    *,
    more: Sequence[str] = (),
    woken: bool = False,
    folder: Path | None = None,
) -> Iterator[LiveGuest]:
    """QEMU in `folder` with `image`; booting, or woken from the snapshot of `booted_guest`."""
    with tempfile.TemporaryDirectory(prefix="gd-live-", dir="/tmp") as scratch:
        sockets = Sockets(Path(scratch), free_port())
        words = [
            *_command(image, image_format, sockets, DISKS[disk]),
            *more,
            *(["-loadvm", BOOTED] if woken else []),
        ]
        with (Path(scratch) / "qemu.log").open("wb") as log:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                cwd=folder,
            )
            try:
                console = connected(sockets.console, process, Path(scratch) / "qemu.log")
                await_true(sockets.agent.exists, 60, "QEMU has opened its sockets")
                guest = LiveGuest(process, console, sockets, image)
                # QEMU opens its images after its sockets, and answers after both
                with guest.monitor() as machine:
                    machine.status()
                yield guest
            finally:
                process.kill()
                process.wait()


@contextmanager
def bare_machine(
    image: Path, image_format: str = "qcow2", disk: str = "scsi", *more: str
) -> Iterator[LiveGuest]:
    """A machine whose disk nothing boots from: for what needs QEMU and no guest."""
    with started(image, image_format, disk, more=("-bios", str(halting()), *more)) as guest:
        yield guest


def booted_guest(disk: str) -> Path:
    """The image of a booted guest with its memory in a snapshot; read-only, in the cache."""
    version = run("qemu-system-x86_64", "--version").split("(")[0].split()[-1]
    base = full_guest() if disk in _FULL_KERNEL else classic_guest().image
    key = f"woken-{base.parent.name.removeprefix('classic-')}-{disk}-{version}-3"
    return cached(key, lambda folder: boot_once(folder, base, disk)) / "guest.qcow2"


def wake_copy(disk: str, folder: Path) -> Path:
    """A writable copy of the booted guest's image, to be started with woken=True."""
    return writable_copy(booted_guest(disk), folder)


def writable_copy(image: Path, folder: Path) -> Path:
    copy = folder / "guest.qcow2"
    run("cp", "--reflink=auto", "--sparse=always", "--no-preserve=mode", image, copy)
    copy.chmod(0o644)
    return copy


def ssh_config(guest: LiveGuest, folder: Path) -> Path:
    """An ssh configuration in which the guest is called `guest`."""
    key, config = folder / "key", folder / "ssh_config"
    shutil.copy(classic_guest().ssh_key, key)
    key.chmod(0o600)
    config.write_text(
        f"Host guest\n  HostName 127.0.0.1\n  Port {guest.sockets.ssh_port}\n  User root\n  "
        f"IdentityFile {key}\n"
        f"  StrictHostKeyChecking accept-new\n  UserKnownHostsFile {folder}/known_hosts\n"
    )
    return config


def boot_once(folder: Path, base: Path, disk: str, then: str = "true") -> None:
    """Make guest.qcow2 in `folder`: a copy of `base` with its memory, once up and after `then`."""
    image = writable_copy(base, folder)
    with started(image, disk=disk) as guest:
        report = guest.wait_for_report()
        # so slow a host that devices came too late: such a boot is not kept
        assert report.waits == (), report
        guest.run(f"sync; systemctl is-active qemu-guest-agent ssh; {then}", 600)
        with guest.monitor() as machine:
            machine.monitor.execute("human-monitor-command", command_line=f"savevm {BOOTED}")
            assert machine.disks()[0].snapshots == (BOOTED,)
            machine.monitor.execute("quit")  # killed, it would leave a leaked cluster
        guest.process.wait(60)
    image.chmod(0o444)


def _command(image: Path, image_format: str, sockets: Sockets, disk: Sequence[str]) -> list[str]:
    """setpriv: should the test process be killed, QEMU must not live on.

    The default VGA stays: SeaBIOS needs one.
    """
    return [
        "setpriv", "--pdeathsig", "KILL", "nice", "-n", "5", "qemu-system-x86_64",
        "-accel", "tcg,thread=multi", "-cpu", EMULATED_CPU, "-m", "512", "-smp", "1",
        "-display", "none", "-monitor", "none",
        "-chardev", f"socket,id=console,path={sockets.console},server=on,wait=on",
        "-serial", "chardev:console", "-qmp", f"unix:{sockets.qmp},server=on,wait=off",
        "-qmp", f"unix:{sockets.own},server=on,wait=off",
        "-drive", f"if=none,id=disk,file={image},format={image_format},cache=unsafe,discard=unmap",
        *disk, "-nic", f"user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{sockets.ssh_port}-:22",
        "-device", "virtio-serial-pci",
        "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
        "-chardev", f"socket,id=agent,path={sockets.agent},server=on,wait=off",
        "-device", "virtio-rng-pci",
    ]  # fmt: skip
