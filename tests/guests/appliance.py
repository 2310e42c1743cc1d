"""An appliance of libguestfs for building and judging:
images as /dev/disk/guestfs/NAME, and a shell in it.

Not as /dev/sda: a kernel names disks in the order in which they answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import guestfs

from growdisk.host.kvm import accelerator

_MEMORY_MIB = 768


class Bench:
    """A running appliance that knows nothing of growdisk."""

    def __init__(self, handle: guestfs.GuestFS) -> None:
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
    for image in images:
        kind = "qcow2" if image.suffix == ".qcow2" else "raw"
        handle.add_drive(str(image), readonly=read_only, format=kind, label=labelled(image))
    handle.launch()
    try:
        yield Bench(handle)
        handle.shutdown()
    finally:
        handle.close()
