"""The guests that are measured: the classic Debian guest of the tests, and copies of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from growdisk.host.kvm import accelerator
from tests.guests.classic import classic_guest

NAME = "Debian 12, 3 GiB, MBR, swap after root"


def base_image() -> Path:
    """The classic guest; read only."""
    return classic_guest().image


def prepare_peers() -> None:
    """libguestfs' own tools have to be told what growdisk finds out by itself."""
    os.environ["LIBGUESTFS_BACKEND"] = "direct"
    if not accelerator().has_kvm:
        os.environ["LIBGUESTFS_BACKEND_SETTINGS"] = "force_tcg"


def fresh_copy(base: Path, copy: Path) -> Path:
    """Written out to the device: nobody pays for the copy."""
    subprocess.run(["cp", "--sparse=always", "--no-preserve=mode", base, copy], check=True)
    copy.chmod(0o644)
    settle()
    return copy


def settle() -> None:
    os.sync()


def forget(image: Path) -> None:
    image.unlink(missing_ok=True)
    shutil.rmtree(f"{image}.growdisk", ignore_errors=True)
