"""A Debian that runs, with systemd: what is done in it, over ssh, for its console would be slow."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.guests.hypervisor import hypervisor_image
from tests.guests.tools import run
from tests.online.machine import LiveGuest, ssh_config, started, writable_copy


class BootedDebian:
    def __init__(self, guest: LiveGuest, folder: Path) -> None:
        self._config = ssh_config(guest, folder)

    def bring(self, *files: Path) -> None:
        """Into /root; it has nothing that scp would ask for."""
        for file in files:
            run(
                "ssh",
                "-F",
                self._config,
                "guest",
                f"cat >/root/{file.name}",
                stdin=file.read_bytes(),
            )

    def sh(self, script: str) -> str:
        """What it prints on both streams; AssertionError where it fails."""
        done = subprocess.run(
            ["ssh", "-F", self._config, "guest", f"exec 2>&1; set -e; {script}"],
            capture_output=True, text=True,
            timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()


@contextmanager
def booted_debian(folder: Path) -> Iterator[BootedDebian]:
    """Awake, its disk in `folder`."""
    with started(writable_copy(hypervisor_image(), folder), woken=True) as guest:
        yield BootedDebian(guest, folder)
