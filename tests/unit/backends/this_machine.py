"""A way into a guest that leads nowhere else: the shell of this machine."""

from __future__ import annotations

import subprocess

from growdisk.live.guest_shell import GuestAnswer


class ThisMachine:
    """A GuestShell, for real."""

    name = "this machine"

    def __init__(self) -> None:
        self.calls = 0

    def run(self, script: str, timeout: float) -> GuestAnswer:
        self.calls += 1
        done = subprocess.run(
            ["sh", "-s"], input=script.encode(), capture_output=True, timeout=timeout
        )
        return GuestAnswer(done.returncode, done.stdout, done.stderr)

    def close(self) -> None: ...
