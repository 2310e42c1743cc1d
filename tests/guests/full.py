"""The classic guest with Debian's full kernel,
which has AHCI and USB, and with cloud-init and its growpart.

Without a seed disk cloud-init stays off, so that one guest serves both. It opens to the classic
guest's ssh key.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.guests.cache import cached, recipe_hash
from tests.guests.classic import PACKAGES, _assemble, _debootstrap, _own_files, classic_guest
from tests.guests.content import write_tar
from tests.guests.tools import run

_OTHER_KERNEL = {"linux-image-cloud-amd64": "linux-image-amd64"}
_MORE = ("cloud-init", "cloud-guest-utils")


def full_guest() -> Path:
    """Its image, read-only; built when needed (3 minutes)."""
    recipe = recipe_hash([Path(__file__)], classic_guest().image.parent.name)
    return cached(f"full-{recipe[:32]}", _build) / "full.qcow2"


def _build(folder: Path) -> None:
    """/dev/sda by its UUID in fstab, whatever the bus;
    the drivers of all buses are in the initrd (MODULES=most).
    """
    packages = [*(_OTHER_KERNEL.get(name, name) for name in PACKAGES), *_MORE]
    with tempfile.TemporaryDirectory(prefix="growdisk-full-", dir="/var/tmp") as scratch:
        work = Path(scratch)
        own = write_tar(
            work / "own.tar", _own_files(classic_guest().ssh_key.with_suffix(".pub").read_text())
        )
        disk = _assemble(work / "disk.raw", [_debootstrap(work, own, packages)])
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, folder / "full.qcow2")
    (folder / "full.qcow2").chmod(0o444)


def main() -> None:
    """`python -m tests.guests.full`: build the guest if need be, print where it is."""
    argparse.ArgumentParser(description=main.__doc__).parse_args()
    sys.stdout.write(f"{full_guest()}\n")


if __name__ == "__main__":
    main()
