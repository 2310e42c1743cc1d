"""A host of its own for growdisk: a kernel as a program, with real LVM, loop devices, mounts.

It has this machine's /usr and growdisk's code, read as they are; its disks are files here. What
growdisk does in it is what it does on a host with these disks.

    with host_machine(disk) as host:
        host.make_group()
        answer = host.growdisk("expand", "/dev/vg0/web01", "+64M")
"""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from growdisk.backends.uml import UmlHandle, launch
from growdisk.units import MiB
from tests.e2e.process import Answer, need
from tests.hosts.registers import all_registers

STATE = "/run/state"
OLD, NEW = 128 * MiB, 192 * MiB  # most guests here, before and after
_GROWDISK = f"PYTHONPATH=/exchange/python GROWDISK_STATE_DIR={STATE} python3 -m growdisk.cli.start"
_PACKAGES = (
    "growdisk", "msgspec", "cryptography", "jinja2", "markupsafe", "yaml", "rich", "pygments",
    "parted",
)  # fmt: skip
# lvm looks for modules in one place only; what would check a pool at its start may not be
# installed. Nobody plays udev, so lvm makes the device nodes itself. Its root is read-only but for
# /run, /tmp and /etc.
_PREPARE = """
for module in dm-mod dm-thin-pool dm-log-writes loop fuse nbd; do modprobe $module; done
cat >>/etc/lvm/lvm.conf <<END
global { thin_check_executable="" }
END
echo root:x:0:0:root:/root:/bin/sh >/etc/passwd
echo root:x:0: >/etc/group
"""
# The volume group vg0 on /dev/ubda, and in it what growdisk keeps its runs in.
_GROUP = f"""
lvm vgcreate -q vg0 /dev/ubda >/dev/null
lvm lvcreate -q -y -n state -L 256M vg0 >/dev/null
mkfs.ext4 -q /dev/vg0/state
mkdir {STATE}; mount /dev/vg0/state {STATE}
"""


@dataclass
class HostMachine:
    """`exchange` is a folder that it has as /exchange; `root` is what growdisk sees as its root."""

    exchange: Path
    _handle: UmlHandle
    root: str = "/"

    def sh(self, script: str) -> str:
        """What the script prints. RuntimeError with what it complained about."""
        return self._handle.debug("sh", [f"set -e; {script}"]).strip()

    def growdisk(self, *words: str) -> Answer:
        line = (
            f"chroot {self.root} env {_GROWDISK} --json {shlex.join(words)} >/exchange/out "
            "2>/exchange/err"
        )
        status = self.sh(f"status=0; {line} || status=$?; echo $status")
        out, said = ((self.exchange / name).read_text() for name in ("out", "err"))
        return Answer(int(status), json.loads(out or "{}"), said)

    def growdisk_killed(self, *words: str, at: str) -> None:
        """growdisk, killed as soon as its journal speaks of the step `at`."""
        started = f"{_GROWDISK} {shlex.join(words)} >/run/said 2>&1 & pid=$!"
        there = f'grep -qs \'"step": "{at}"\' {STATE}/runs/*/journal.jsonl'
        wait = (
            f"until {there}; do kill -0 $pid || {{ cat /run/said >&2; exit 1; }}; sleep 0.02; done"
        )
        self.sh(f"{started}; {wait}; kill -9 $pid")

    def make_group(self) -> None:
        self.sh(_GROUP)

    def size(self, device: str) -> int:
        return int(self.sh(f"blockdev --getsize64 {device}"))

    def content(self, device: str, name: str) -> Path:
        """A file here with what the device holds."""
        self.sh(f"dd if={device} of=/exchange/{name} bs=1M conv=sparse status=none")
        return self.exchange / name


@contextmanager
def host_machine(*disks: Path) -> Iterator[HostMachine]:
    """Started with `disks` as /dev/ubda, /dev/ubdb and so on."""
    need("uml")
    with tempfile.TemporaryDirectory(prefix="growdisk-host-") as scratch:
        folder = Path(scratch) / "disks"
        folder.mkdir()
        places = [folder / f"disk{number}" for number in range(len(disks))]
        for place, disk in zip(places, disks, strict=True):
            place.hardlink_to(disk)
        with all_registers():
            started = launch(places, lambda: None)
        with started as appliance:
            handle = appliance._handle
            assert isinstance(handle, UmlHandle)
            exchange = Path(scratch) / "exchange"
            bring_code(exchange / "python")
            handle.debug("sh", [_PREPARE])
            try:
                yield HostMachine(exchange, handle)
            finally:
                appliance.kill()  # as if its power were cut


def bring_code(target: Path) -> None:
    """growdisk and what it imports, for a host that has this machine's /usr."""
    for name in _PACKAGES:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            continue
        source = Path(found.origin)
        if source.name == "__init__.py":
            shutil.copytree(source.parent, target / name)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
