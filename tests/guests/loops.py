"""Loop devices, as a host has them: made by losetup, which wants root."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.guests.tools import ToolFailed, run


@contextmanager
def loop(path: Path, *options: str) -> Iterator[Path]:
    """A loop device on the file or device `path`; detached at the end."""
    device = Path(run("losetup", "--find", "--show", *options, path).strip())
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


@contextmanager
def mounted(device: Path, place: Path, *options: str) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    run("mount", *options, device, place)
    try:
        yield place
    finally:
        unmount(place)


def unmount(place: Path) -> None:
    """A loop device below lets go of its file a moment after its own file system is gone."""
    deadline = time.monotonic() + 60
    while True:
        try:
            run("umount", place)
        except ToolFailed as error:
            if "busy" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
