"""Encrypted images as QEMU opens them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.oracle.qemu import qemu_img

MIB = 1 << 20


KEY = b"correct horse"


SECRET = ("--object", f"secret,id=s,data={KEY.decode()}")


def their_io(path: Path, *commands: str, form: str = "luks") -> None:
    words = [word for command in commands for word in ("-c", command)]
    options = f"driver=qcow2,file.filename={path},encrypt.format={form},encrypt.key-secret=s"
    done = subprocess.run(
        ["qemu-io", *SECRET, "--image-opts", options, *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout


def their_check(path: Path) -> None:
    qemu_img(
        "check", *SECRET, "--image-opts", f"driver=qcow2,file.filename={path},encrypt.key-secret=s"
    )


def their_bytes(path: Path, form: str = "luks") -> bytes:
    options = f"driver=qcow2,file.filename={path},encrypt.format={form},encrypt.key-secret=s"
    qemu_img("convert", *SECRET, "--image-opts", options, "-O", "raw", path.with_suffix(".raw"))
    return path.with_suffix(".raw").read_bytes()
