"""A kernel for building and judging: images as /dev/disk/guestfs/NAME, and a shell in it.

`bench` is libguestfs's appliance; `quick_bench` is the kernel that runs as a program, with this
machine's tools, within a second instead of eight. Not as /dev/sda: a kernel names disks in the
order in which they answer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import guestfs

from growdisk.backends import uml
from growdisk.backends.available import why_no_uml
from growdisk.host.kvm import accelerator
from tests.e2e.boot import QUICK_KERNEL
from tests.guests.tools import run

_MEMORY_MIB = 768
_MODULES = "dm-mod dm-crypt dm-thin-pool dm-snapshot"  # lvm looks for them in another place


class Bench:
    """A running kernel that knows nothing of growdisk."""

    def __init__(self, handle: guestfs.GuestFS | uml.UmlHandle) -> None:
        self.handle = handle

    def run(self, script: str) -> str:
        """What a shell script printed. AssertionError where any of its commands fails."""
        answer: str = self.handle.debug(
            "sh", [f"(set -e; {script}\n) </dev/null 2>&1; echo status=$?"]
        )
        output, _, status = answer.rpartition("status=")
        assert status.strip() == "0", f"{script}\n{output}"
        return output

    def give(self, content: bytes) -> str:
        """A file with that content in the appliance's memory; its path."""
        self.run("mountpoint -q /sysroot || mount -t tmpfs keys /sysroot")
        self.handle.write("/given", content)
        return "/sysroot/given"


def labelled(image: Path) -> str:
    """Labels are letters only: digits would be read as partitions."""
    return image.stem.translate({ord("1"): "one", ord("2"): "two"})


def device(image: str | Path, partition: int) -> str:
    return f"/dev/disk/guestfs/{labelled(Path(image))}{partition}"


@contextmanager
def bench(images: Sequence[Path], *, read_only: bool = False) -> Iterator[Bench]:
    handle = guestfs.GuestFS(python_return_dict=True)
    handle.set_backend("direct")
    if not accelerator().has_kvm:
        handle.set_backend_setting("force_tcg", "1")
    handle.set_memsize(_MEMORY_MIB)
    handle.set_append(QUICK_KERNEL)
    for image in images:
        kind = "qcow2" if image.suffix == ".qcow2" else "raw"
        handle.add_drive(str(image), readonly=read_only, format=kind, label=labelled(image))
    handle.launch()
    try:
        yield Bench(handle)
        handle.shutdown()
    finally:
        handle.close()


@contextmanager
def quick_bench(images: Sequence[Path], *, read_only: bool = False) -> Iterator[Bench]:
    """The images must be raw, unless they are only read: then the kernel gets copies."""
    if why_no_uml():
        with bench(images, read_only=read_only) as made:
            yield made
        return
    with tempfile.TemporaryDirectory(prefix="growdisk-bench-", dir="/var/tmp") as scratch:
        folder = Path(scratch) / "disks"
        folder.mkdir()
        places = [folder / labelled(image) for image in images]
        for place, image in zip(places, images, strict=True):
            if read_only:
                run("qemu-img", "convert", "-O", "raw", image, place)
            else:
                place.symlink_to(image.resolve())
        with uml.launch(places, lambda: None) as appliance:
            handle = appliance._handle
            assert isinstance(handle, uml.UmlHandle)
            made = Bench(handle)
            made.run(_named(places))
            yield made
            handle.sync()


def _named(places: Sequence[Path]) -> str:
    """A script that names the disks and their partitions; those that are not there lead nowhere."""
    links = [
        f"ln -s /dev/ubd{letter}{number} /dev/disk/guestfs/{place.name}{number}"
        for letter, place in zip("abcdefghijklmnop", places, strict=False)
        for number in ("", *range(1, 10))
    ]
    load = f"for module in {_MODULES}; do modprobe $module; done"
    return "; ".join(["mkdir -p /dev/disk/guestfs", *links, load])
