"""qemu-img and qemu-io as makers and judges of images."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

COUNTS = (
    "leaks", "corruptions", "check-errors", "total-clusters", "allocated-clusters",
    "fragmented-clusters", "compressed-clusters", "image-end-offset",
)  # fmt: skip


_PATIENCE = 60.0
_TOO_QUICK = "Unable to get accurate CPU usage"


def qemu_img(*words: str | Path, directory: Path | None = None) -> str:
    """Run qemu-img; its output. Raises CalledProcessError where it fails.

    Making a LUKS header it measures the processor, and on a busy machine it often gives up: then it
    is asked again.
    """
    command, end = ["qemu-img", *map(str, words)], time.monotonic() + _PATIENCE
    while True:
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
        if _TOO_QUICK not in result.stderr or time.monotonic() > end:
            result.check_returncode()
            return result.stdout


def qemu_io(image: Path, *commands: str) -> None:
    """Run qemu-io commands on a qcow2 image. qemu-io fails on what a command refuses."""
    words = [word for command in commands for word in ("-c", command)]
    subprocess.run(["qemu-io", "-f", "qcow2", *words, str(image)], check=True, capture_output=True)


def qemu_check(image: Path, *options: str) -> tuple[int, dict[str, int]]:
    """(exit code, counts) of qemu-img check; counts that it leaves out are zero."""
    command = ["qemu-img", "check", "-f", "qcow2", "--output=json", *options, str(image)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    answer = json.loads(result.stdout) if result.stdout.startswith("{") else {}
    return result.returncode, {key: answer.get(key, 0) for key in COUNTS}
