"""Machines with a disk that run nothing: started in a second or two."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from growdisk.live.qemu_machine import Machine
from tests.guests.tools import run
from tests.online.machine import LiveGuest, bare_machine


def image(folder: Path, kind: str = "qcow2", size: str = "64M", name: str = "disk") -> Path:
    path = folder / f"{name}.{kind}"
    run("qemu-img", "create", "-q", "-f", kind, path, size)
    return path


@contextmanager
def bare(
    folder: Path, disk: str = "scsi", kind: str = "qcow2", *more: str
) -> Iterator[tuple[LiveGuest, Machine]]:
    with bare_machine(image(folder, kind), kind, disk, *more) as guest, guest.monitor() as machine:
        yield guest, machine


def second_disk(path: Path, kind: str) -> tuple[str, ...]:
    return (
        "-drive",
        f"if=none,id=other,file={path},format={kind}",
        "-device",
        "virtio-blk-pci,drive=other",
    )
