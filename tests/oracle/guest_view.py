"""What a guest sees of an image: by growdisk, and by QEMU."""

from __future__ import annotations

import subprocess
from pathlib import Path

from growdisk.qcow2.image import Qcow2Image


def qemu(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def qemu_io(path: Path, *commands: str) -> None:
    arguments = [part for command in commands for part in ("-c", command)]
    out = qemu("qemu-io", "-f", "qcow2", *arguments, path)
    assert "failed" not in out, out


def guest_bytes(path: Path, scratch: Path) -> bytes:
    qemu("qemu-img", "convert", "-O", "raw", path, scratch / "converted.raw")
    return (scratch / "converted.raw").read_bytes()


def read_all(path: Path) -> bytes:
    with Qcow2Image.open(path) as image:
        return image.read(0, image.size)
