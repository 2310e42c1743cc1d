"""The classic guest with Debian's full kernel, which has AHCI and USB, and with cloud-init and its growpart.

Without a seed disk cloud-init stays off, so that one guest serves both. It opens to the classic guest's ssh key.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.guests.cache import cached, recipe_hash
from tests.guests.classic import PACKAGES, ROOT_UUID, SUITE, SWAP_UUID, _assemble, _own_files, classic_guest
from tests.guests.content import write_tar
from tests.guests.tools import run

_OTHER_KERNEL = {"linux-image-cloud-amd64": "linux-image-amd64"}
_MORE = ("cloud-init", "cloud-guest-utils")


def full_guest() -> Path:
    """Its image, read-only; built when needed (3 minutes)."""
    recipe = recipe_hash([Path(__file__)], classic_guest().image.parent.name)
    return cached(f"full-{recipe[:32]}", _build) / "full.qcow2"


def _build(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="growdisk-full-", dir="/var/tmp") as scratch:
        work = Path(scratch)
        disk = _assemble(work / "disk.raw", [_debootstrap(work)])
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, folder / "full.qcow2")
    (folder / "full.qcow2").chmod(0o444)


def _debootstrap(work: Path) -> Path:
    """/dev/sda by its UUID in fstab, whatever the bus; the drivers of all buses are in the initrd (MODULES=most)."""
    own = write_tar(work / "own.tar", _own_files(classic_guest().ssh_key.with_suffix(".pub").read_text()))
    tree, packages = work / "tree.tar", [*(_OTHER_KERNEL.get(name, name) for name in PACKAGES), *_MORE]
    conf = "$1/etc/initramfs-tools/conf.d"
    run(
        "mmdebstrap", "--quiet", "--variant=minbase", "--dpkgopt=force-unsafe-io", f"--include={','.join(packages)}",
        f'--essential-hook=mkdir -p "{conf}" && echo RESUME=UUID={SWAP_UUID} >"{conf}/resume"',
        f"--customize-hook=tar-in {own} /",
        '--customize-hook=chroot "$1" systemctl --quiet enable boot-report.service serial-getty@ttyS0.service',
        f'--customize-hook=chroot "$1" /usr/local/lib/offline-grub.sh {ROOT_UUID}',
        SUITE, tree,
    )  # fmt: skip
    return tree


def main() -> None:
    """`python -m tests.guests.full`: build the guest if need be, print where it is."""
    argparse.ArgumentParser(description=main.__doc__).parse_args()
    sys.stdout.write(f"{full_guest()}\n")


if __name__ == "__main__":
    main()
