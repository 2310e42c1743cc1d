"""libvirt as a system has it, started for the tests if it does not run, and its machines."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.process import await_true
from tests.guests.firmware import halting
from tests.guests.tools import environment, run

_XML = """\
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type>{loader}</os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <on_reboot>restart</on_reboot>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='unsafe' discard='unmap'/>
      <source file='{image}'/>
      <target dev='{target}' bus='{bus}'/>
    </disk>
    <controller type='scsi' model='virtio-scsi'/>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <serial type='pty'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <video><model type='vga'/></video>
    <memballoon model='none'/>
  </devices>
  <seclabel type='static' model='dac' relabel='no'><label>+0:+0</label></seclabel>
</domain>
"""


@dataclass(frozen=True)
class Domain:
    name: str
    image: Path

    def virsh(self, command: str, *words: str) -> str:
        return virsh(command, self.name, *words)

    def state(self) -> str:
        return self.virsh("domstate").strip()


def virsh(*words: str) -> str:
    return run("virsh", "-q", "-c", "qemu:///system", *words)


@contextmanager
def libvirtd() -> Iterator[None]:
    """A libvirtd that answers: the system's, or one of our own until the end of the tests."""
    if os.geteuid() != 0:
        pytest.skip("libvirtd must be started by root")
    if _answers():
        yield
        return
    daemons = [
        subprocess.Popen(
            [name], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
        )
        for name in ("virtlogd", "libvirtd")
    ]
    try:
        await_true(_answers, 60, "libvirtd answers")
        yield
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(30)


def _answers() -> bool:
    done = subprocess.run(
        ["virsh", "-q", "-c", "qemu:///system", "version"],
        capture_output=True,
        env=environment(),
        timeout=30,
    )
    return done.returncode == 0


@contextmanager
def domain(
    image: Path, *, target: str = "vda", bus: str = "virtio", boots: bool = True
) -> Iterator[Domain]:
    """A defined machine, not started; destroyed and forgotten at the end.

    If it does not boot, it halts at once.
    """
    made = Domain(f"growdisk-test-{uuid.uuid4().hex[:8]}", image)
    xml = image.with_suffix(".xml")
    xml.write_text(
        _XML.format(
            name=made.name,
            image=image,
            target=target,
            bus=bus,
            memory=512 if boots else 128,
            loader="" if boots else f"<loader readonly='yes' type='rom'>{halting()}</loader>",
        )
    )
    virsh("define", str(xml))
    try:
        yield made
    finally:
        if made.state() != "shut off":
            made.virsh("destroy")
        made.virsh("undefine", "--managed-save", "--snapshots-metadata")


def wait_for_agent(machine: Domain) -> None:
    for _ in range(300):
        try:
            machine.virsh("qemu-agent-command", '{"execute":"guest-ping"}')
            return
        except AssertionError:
            time.sleep(1)
    raise AssertionError("the guest's agent never answered")


def power_off(machine: Domain) -> None:
    """In an orderly way.

    `virsh shutdown` calls a program that needs D-Bus, which this guest does not have.
    """
    words = {"path": "/bin/systemctl", "arg": ["poweroff"]}
    machine.virsh("qemu-agent-command", json.dumps({"execute": "guest-exec", "arguments": words}))
    for _ in range(600):
        if machine.state() == "shut off":
            return
        time.sleep(1)
    raise AssertionError("the guest did not end")
