"""The classic guest with what growdisk's package depends on:
a hypervisor to install it on, which has booted.

It has been up for longer than a timer's OnBootSec=3min when a test wakes it, so that such a timer
fires at once.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.e2e.boot import EMULATED_CPU
from tests.guests.cache import cached, recipe_hash
from tests.guests.classic import PACKAGES, _assemble, _debootstrap, _own_files, classic_guest
from tests.guests.content import write_tar
from tests.guests.tools import run
from tests.online.machine import boot_once
from tests.packaging.clean_debian import dependencies

_WAIT = "while [ $(cut -d. -f1 /proc/uptime) -lt 200 ]; do sleep 1; done"


def hypervisor_image() -> Path:
    """Read-only, with its memory in a snapshot; built when needed (6 minutes)."""
    parts = f"{classic_guest().image.parent.name} {dependencies()} {EMULATED_CPU}"
    recipe = recipe_hash([Path(__file__)], parts)
    return cached(f"hypervisor-{recipe[:32]}", _build) / "guest.qcow2"


def _build(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="growdisk-hypervisor-", dir="/var/tmp") as scratch:
        work = Path(scratch)
        own = write_tar(
            work / "own.tar", _own_files(classic_guest().ssh_key.with_suffix(".pub").read_text())
        )
        disk = _assemble(
            work / "disk.raw", [_debootstrap(work, own, sorted({*PACKAGES, *dependencies()}))]
        )
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, work / "base.qcow2")
        boot_once(folder, work / "base.qcow2", "scsi", _WAIT)
