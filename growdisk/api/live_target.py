"""Finds a running guest and the ways into it: by libvirt name, monitor, or image."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.api.live_request import LiveRequest
from growdisk.errors import Refused, UsageError
from growdisk.fast_dataclass import dataclass, replace
from growdisk.live.guest_agent import AgentShell, AgentSocket
from growdisk.live.guest_shell import AgentCall, GuestShell, GuestUnreachable
from growdisk.live.live_disk import LiveDisk
from growdisk.live.local_guests import guest_of, server_folder
from growdisk.live.qemu_machine import Machine, is_same_file
from growdisk.planner.plan import GuestConnection
from growdisk.workflow.run_places import is_run_folder

if TYPE_CHECKING:
    from growdisk.live.libvirt_domain import DomainDisk

_AGENT_CHANNEL = "org.qemu.guest_agent.0"


def _disk_unknown(machine: str, wanted: str, disks: Mapping[str, str]) -> Refused:
    """`disks`: the file of each, by its name."""
    return Refused.named(
        "disk-unknown",
        "{machine} has no disk {wanted}",
        "its disks are: {_disks}",
        "name one of them with --disk",
        {
            "machine": machine,
            "wanted": wanted,
            "present": tuple(disks),
            "files": tuple(disks.values()),
            "_disks": _described(disks),
        },
    )


@dataclass(eq=False)
class DiskNotSaid(Refused):
    """`files` are those of the disks in `present`."""

    WHAT = "{machine} has several disks"
    WHY = "they are: {disks}"
    DO = "say which one with --disk"
    machine: str
    present: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def disks(self) -> str:
        return _described(dict(zip(self.present, self.files, strict=True)))


def _described(disks: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({file})" for name, file in disks.items()) or "none"


def _no_file_here(machine: str, file: str) -> Refused:
    return Refused.named(
        "no-file-here",
        "the disk of {machine} is not a file on this host",
        "it is {file}",
        "grow it with the tools of its storage, then run growdisk inside or on a local copy",
        {"machine": machine, "file": file},
    )


@dataclass(frozen=True)
class RunningGuest:
    """A running machine, one disk of it, that disk's image, and how to get inside."""

    machine: Machine
    disk: LiveDisk
    path: Path
    request: LiveRequest
    qmp: str = ""
    domain: str = ""
    uri: str = ""
    agent_by_libvirt: Callable[..., object] | None = None

    @property
    def by_ssh(self) -> bool:
        """The way inside; by the agent otherwise."""
        online = self.request.online
        return online == "ssh" or (online == "auto" and bool(self.request.ssh))

    def again(self) -> RunningGuest:
        """The same, with the disk as it is now."""
        return replace(self, disk=self.machine.disk(self.disk.key))

    def open_shell(self) -> GuestShell:
        request = self.request
        if self.by_ssh:
            if not request.ssh:
                raise UsageError("--online ssh does not say where to", hint="add --ssh root@GUEST")
            from growdisk.live.ssh import SshShell

            return SshShell.open(request.ssh, request.ssh_config)
        # The channel is open before the agent has answered: it is closed here if no answer comes.
        call, close = self.open_channel()
        try:
            return AgentShell.open(call, close)
        except BaseException:
            close()
            raise

    def open_agent(self) -> AgentShell:
        """The guest's agent, whichever way inside was asked for, to freeze and thaw.

        GuestUnreachable if there is none.
        """
        return AgentShell(*self.open_channel())

    def open_channel(self) -> tuple[AgentCall, Callable[[], None]]:
        """The agent's channel alone, and what closes it: for a guest that allows no commands.

        GuestUnreachable.
        """
        request = self.request
        if self.agent_by_libvirt is not None and request.agent is None:
            # libvirt keeps the channel: there is nothing of ours to close.
            return self.agent_by_libvirt, lambda: None
        socket = request.agent or self.agent_socket()
        if socket is None:
            raise GuestUnreachable(
                "a guest agent",
                reason="the machine has no channel for one",
                hint="give --ssh root@GUEST, or start the guest with an agent channel "
                "(org.qemu.guest_agent.0)",
            )
        channel = AgentSocket.connect(socket)
        return channel.call, channel.close

    def agent_socket(self) -> Path | None:
        """Where QEMU has the agent's channel; None for none, and where libvirt has it."""
        return None if self.domain else self.machine.channel_socket(_AGENT_CHANNEL)

    def way(self, device: str) -> GuestConnection:
        request = self.request
        # It goes into plan.json, so that another process finds the guest again.
        agent = "" if self.by_ssh else str(request.agent or self.agent_socket() or "")
        return GuestConnection(
            self.qmp,
            self.domain,
            self.uri,
            self.disk.key,
            "ssh" if self.by_ssh else "agent",
            agent,
            request.ssh,
            os.path.realpath(request.ssh_config) if request.ssh_config else "",
            device,
            request.allow_reboot,
        )

    def close(self) -> None:
        self.machine.close()


def reach(request: LiveRequest) -> RunningGuest | Path:
    """The running guest; or the path of the image, if the guest is off."""
    if request.online == "manual":
        raise UsageError(
            "nothing is carried out here with --online manual",
            hint="growdisk script TARGET [SIZE] -o DIR writes the scripts, and what to do with "
            "them",
        )
    if request.domain:
        return _by_domain(request)
    if request.qmp:
        return _by_monitor(request, request.qmp)
    assert request.path is not None
    found = guest_of(request.path)
    if found is None:
        return request.path
    # libvirt keeps its monitor, which serves one client.
    if found.domain:
        return _by_domain(replace(request, domain=found.domain))
    if not found.monitor:
        raise Refused.named(
            "guest-not-found",
            "cannot find the monitor of the guest that has {path} open",
            "{reason}",
            "name it: --qmp SOCKET (QEMU's -qmp option), or -d NAME for a machine of libvirt",
            {"path": request.path, "reason": f"QEMU (pid {found.pid}) was started without one"},
        )
    return _by_monitor(request, Path(found.monitor))


def reconnect(request: LiveRequest) -> RunningGuest | Path:
    """Find the guest by its image: a restarted machine has other sockets, also its agent's."""
    reached = reach(replace(request, qmp=None, domain="", agent=None))
    # The machine shows no agent's socket: the one that was named before is all there is.
    if isinstance(reached, RunningGuest) and request.agent and reached.agent_socket() is None:
        return replace(reached, request=replace(reached.request, agent=request.agent))
    return reached


def request_of(path: Path, connection: GuestConnection) -> LiveRequest:
    """How a plan that was written down reaches its guest."""
    return LiveRequest(
        path=path,
        qmp=Path(connection.qmp) if connection.qmp else None,
        domain=connection.domain,
        uri=connection.uri or None,
        online=connection.shell,
        agent=Path(connection.agent) if connection.agent else None,
        ssh=connection.ssh,
        ssh_config=Path(connection.ssh_config) if connection.ssh_config else None,
        guest_disk=connection.device,
        allow_reboot=connection.allow_reboot,
    )


def _by_domain(request: LiveRequest) -> RunningGuest | Path:
    from growdisk.live.libvirt_domain import Domain

    domain = Domain.find(request.domain, request.uri)
    disks = {disk.target: disk for disk in domain.disks()}
    if not domain.running:
        # Off: libvirt's definition says which file it is, and that is worked on at rest.
        domain.close()
        return _file_of_domain(request, disks)
    machine = Machine(domain, f"machine {domain.name}")
    # vda is libvirt's name for it; QEMU knows the alias.
    wanted = disks[request.disk].alias if request.disk in disks else request.disk
    guest = _guest(machine, request, wanted)
    return replace(guest, domain=domain.name, uri=domain.uri, agent_by_libvirt=domain.agent_call)


def _file_of_domain(request: LiveRequest, disks: dict[str, DomainDisk]) -> Path:
    present = {target: disk.file or disk.elsewhere for target, disk in disks.items()}
    name = f"machine {request.domain}"
    # By libvirt's target alone (vda): a machine that is off has no names in QEMU.
    chosen = [disks[request.disk]] if request.disk in disks else list(disks.values())
    if request.disk and request.disk not in disks:
        raise _disk_unknown(name, wanted=request.disk, disks=present)
    if len(chosen) != 1:
        raise DiskNotSaid(name, tuple(present), tuple(present.values()))
    if not chosen[0].file:
        raise _no_file_here(name, file=chosen[0].elsewhere or "not a file")
    return Path(chosen[0].file)


def _by_monitor(request: LiveRequest, socket: Path) -> RunningGuest:
    # A machine of libvirt needs none of it, nor does one that is off.
    from growdisk.live.qmp import QmpMonitor

    # First: a monitor serves one client at a time.
    folder = server_folder(socket)
    machine = Machine(QmpMonitor.connect(socket), f"the guest at {socket}", folder)
    return replace(_guest(machine, request, request.disk), qmp=os.path.realpath(socket))


def _guest(machine: Machine, request: LiveRequest, wanted: str) -> RunningGuest:
    try:
        disk = _choose(machine, wanted, request.path)
        return RunningGuest(machine, disk, _image(machine, disk), request)
    except BaseException:
        machine.close()
        raise


def _choose(machine: Machine, wanted: str, path: Path | None) -> LiveDisk:
    disks = machine.disks()
    present = {disk.names[0]: str(disk.file) for disk in disks}
    if wanted:
        # libvirt's names for -blockdev devices are those of the device: virtio-disk0, scsi0-0-0-0
        chosen = [disk for disk in disks if wanted in (disk.key, *disk.names)]
    elif path is not None:
        chosen = [
            disk
            for disk in disks
            # Any layer: during a run the user's image lies below overlays.
            if any(is_same_file(machine.place_of(f), path) for f in machine.files(disk.key))
        ]
    else:
        # What is read-only cannot grow: a CD, or what cloud-init reads.
        chosen = [disk for disk in disks if not disk.read_only]
        if len(chosen) > 1:
            raise DiskNotSaid(machine.name, tuple(present), tuple(present.values()))
    if not chosen:
        raise _disk_unknown(machine.name, wanted or str(path or ""), present)
    return chosen[0]


def _image(machine: Machine, disk: LiveDisk) -> Path:
    """The image that the user knows: below the overlays of a run of ours, if there is one."""
    for file in machine.files(disk.key):
        path = machine.place_of(file)
        # A run's folder, with its overlays.
        if not is_run_folder(path.parent):
            if not path.exists():
                # An address (nbd://…), or a file that only QEMU can see.
                break
            return path
    raise _no_file_here(machine.name, file=disk.file)
