"""Image verbs in this process, and what qemu-img says of an image."""

from __future__ import annotations

import json
from pathlib import Path

from growdisk.cli.main import main
from tests.oracle.qemu import qemu_img, qemu_io


def image(*words: str | Path) -> int:
    return main(["image", *map(str, words)])


def info(path: Path) -> dict[str, object]:
    answer: dict[str, object] = json.loads(qemu_img("info", "--output=json", path))
    return answer


def make(path: Path, *actions: str, size: str = "8M", options: str = "compat=1.1") -> Path:
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, path, size)
    qemu_io(path, *actions)
    return path
