"""A user-mode kernel that makes volumes on a disk, mounts file systems, and reports them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from growdisk.backends.appliance import Appliance
from growdisk.backends.uml import launch
from growdisk.block.raw import RawFile
from growdisk.host.fuse_mount import mounted


class Kernel:
    """/dev/sda is the disk, in the words of run() too."""

    def __init__(self, appliance: Appliance) -> None:
        self._shell = appliance._shell

    def run(self, script: str) -> tuple[int, str]:
        """Exit status and output of a shell script."""
        script = script.replace("/dev/sda", self._shell.disk)
        return self._shell.run("sh", "-c", script, accept=range(256))

    def must(self, script: str) -> str:
        status, output = self.run(script)
        if status:
            raise NotMade(f"{script}: {output}")
        return output


class NotMade(Exception):
    """What a recipe asks for does not exist in this world: no finding, the disk is left out."""


@contextmanager
def kernel_on(raw: Path) -> Iterator[Kernel]:
    with (
        closing(RawFile.open_disk(raw, writable=True)) as device,
        mounted({"disk": device}, cached=False) as (place, _),
        launch([place / "disk"], device.flush) as appliance,
    ):
        yield Kernel(appliance)


def quoted(*words: str) -> str:
    return shlex.join(words)
