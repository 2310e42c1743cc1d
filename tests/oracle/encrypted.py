"""Encrypted images as QEMU makes and opens them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.guests.cache import cached, recipe_hash
from tests.oracle.qemu import qemu_img

MIB = 1 << 20


KEY = b"correct horse"


SECRET = ("--object", f"secret,id=s,data={KEY.decode()}")


_LUKS = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"


def their_luks(path: Path, size: str, options: str = "") -> Path:
    """Make the image `path`, encrypted by QEMU under KEY, and its data file, if it has one, beside.

    QEMU measures the processor for that, two and a half seconds: each is made once and copied.
    """
    words = ",".join(filter(None, (_LUKS, options)))
    recipe = recipe_hash([Path(__file__)], f"{qemu_img('--version')} {words} {size}")

    def make(folder: Path) -> None:
        qemu_img(
            "create", "-q", *SECRET, "-f", "qcow2", "-o", words, "image", size, directory=folder
        )

    for file in cached(f"encrypted-{recipe[:20]}", make).iterdir():
        shutil.copyfile(file, path if file.name == "image" else path.with_name(file.name))
    return path


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
