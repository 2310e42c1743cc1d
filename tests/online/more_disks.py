"""More disks for a running guest: one with this host's tools, which it lacks, and others."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.guests.content import Entry, write_tar
from tests.guests.tools import environment, run
from tests.online.machine import LiveGuest

LVM, LUKS, XFS, BTRFS = ("lvm", "dmsetup"), ("cryptsetup", "dmsetup"), ("xfs_growfs",), ("btrfs",)
_RULES = Path("/lib/udev/rules.d")
_PATIENCE = 600.0


def attach(
    guest: LiveGuest, name: str, image: Path, kind: str = "qcow2", driver: str = "scsi-hd"
) -> None:
    """A disk on the guest's SCSI bus, at once: /dev/sdb is the first. Raw ones are read-only."""
    with guest.monitor() as machine:
        file = {"driver": "file", "filename": str(image), "read-only": kind == "raw"}
        machine.monitor.execute(
            "blockdev-add", driver=kind, node_name=name, read_only=kind == "raw", file=file
        )
        machine.monitor.execute("device_add", driver=driver, drive=name, id=name, serial=name)


def install(guest: LiveGuest, folder: Path, tools: Iterable[str]) -> None:
    """The host's `tools` in the guest, with what they need; both are the same Debian.

    They come as /dev/sdb.
    """
    attach(guest, "tools", write_tar(folder / "tools.tar", list(_entries(tools))), "raw")
    guest.run(
        "until [ -b /dev/sdb ]; do sleep 0.2; done; tar -xf /dev/sdb -C / --skip-old-files; "
        "ldconfig; udevadm control --reload; udevadm settle",
        _PATIENCE,
    )


def _entries(tools: Iterable[str]) -> Iterator[Entry]:
    programs = [Path(run("which", tool).strip()).resolve() for tool in tools]
    libraries = {library for program in programs for library in _libraries(program)}
    for program in programs:
        yield Entry(f"usr/sbin/{program.name}", program.read_bytes(), 0o755)
    for library in sorted(libraries):
        yield Entry(f"usr/lib/x86_64-linux-gnu/{library.name}", library.read_bytes(), 0o755)
    for rule in sorted(_RULES.iterdir()):
        if "dm" in rule.name or "lvm" in rule.name:
            yield Entry(f"usr/lib/udev/rules.d/{rule.name}", rule.read_bytes())


def _libraries(program: Path) -> Iterator[Path]:
    said = subprocess.run(
        ["ldd", program], capture_output=True, text=True, env=environment()
    ).stdout
    for match in re.finditer(r"=> (/\S+) \(0x", said):
        yield Path(match[1])
