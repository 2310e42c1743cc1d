"""The whole expand of the classic Debian guest, against qemu-img with virt-resize, which copies it to a new image."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks.measure import Sample, middle, take, take_growdisk
from growdisk.backends.accelerator import accelerator
from tests.guests.classic import classic_guest

GROWTH = "+10G"
NEW_SIZE = "13G"


def compare(repeats: int) -> dict[str, object]:
    """Medians of `repeats` runs of each, taken in turn, with all samples."""
    if not accelerator().has_kvm:
        os.environ["LIBGUESTFS_BACKEND_SETTINGS"] = "force_tcg"
    os.environ["LIBGUESTFS_BACKEND"] = "direct"
    base = classic_guest().image
    ours: list[Sample] = []
    peers: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="growdisk-bench-") as folder:
        for _ in range(repeats):
            ours.append(_growdisk(base, Path(folder) / "guest.qcow2"))
            peers.append(_virt_resize(base, Path(folder) / "new.qcow2"))
    return {
        "guest": "Debian 12, 3 GiB, MBR, swap behind root",
        "growth": GROWTH,
        "growdisk": asdict(middle(ours)),
        "virt-resize": asdict(middle(peers)),
        "ratio": middle(peers).wall / middle(ours).wall,
        "samples": {"growdisk": [asdict(s) for s in ours], "virt-resize": [asdict(s) for s in peers]},
    }


def rows(result: dict[str, object]) -> Iterator[str]:
    """The figures as a Markdown table."""
    ours, peer = _sample(result["growdisk"]), _sample(result["virt-resize"])
    yield f"| whole expand of {result['guest']}, {result['growth']} | wall | ratio |"
    yield "|---|---|---|"
    yield f"| growdisk (libguestfs backend), in place, with a way back | {ours.wall:.1f} s | 1 |"
    yield f"| qemu-img create + virt-resize, to a copy | {peer.wall:.1f} s | {peer.wall / ours.wall:.1f} × slower |"
    yield ""
    yield f"growdisk's own process: {ours.own_cpu:.2f} s of CPU, {ours.own_peak_kib / 1024:.0f} MiB at its peak."


def _sample(fields: object) -> Sample:
    assert isinstance(fields, dict)
    return Sample(**fields)


def _growdisk(base: Path, guest: Path) -> Sample:
    shutil.copyfile(base, guest)
    sample = take_growdisk(["-q", "expand", str(guest), GROWTH])
    guest.unlink()
    shutil.rmtree(f"{guest}.growdisk")
    return sample


def _virt_resize(base: Path, new: Path) -> Sample:
    create = ["qemu-img", "create", "-q", "-f", "qcow2", new, NEW_SIZE]
    resize = ["virt-resize", "--format", "qcow2", "--output-format", "qcow2", "--delete", "/dev/sda2"]
    created = take(create)
    resized = take([*resize, "--expand", "/dev/sda1", base, new])
    subprocess.run(["qemu-img", "check", "-q", new], check=True)
    new.unlink()
    return Sample(created.wall + resized.wall, 0.0, 0)
