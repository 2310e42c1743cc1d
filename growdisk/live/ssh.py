"""ssh into a running guest by OpenSSH's client: the user's configuration, keys and known hosts.

One connection is shared by all commands of a run (a new one takes seconds under emulation); a guest
that does not answer is given up after half a minute. ssh never prompts: if it would want a password
or a yes, it fails and says so.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from growdisk.errors import ToolTimedOut, bad_value
from growdisk.host.command import run
from growdisk.live.guest_shell import GuestAnswer, GuestLost, GuestUnreachable, LineCallback

_SSH_FAILED = 255
_OPTIONS = (
    "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=10", "-o",
    "ServerAliveCountMax=3", "-o", "ControlMaster=auto", "-o", "ControlPersist=60",
)  # fmt: skip
# Another user than root becomes root; the script comes on stdin.
_AS_ROOT = 'if [ "$(id -u)" -eq 0 ]; then exec sh -s; else exec sudo -n sh -s; fi'


class SshShell:
    """A GuestShell by ssh to `target` (user@host, or a name from the user's ssh configuration)."""

    def __init__(self, target: str, config: Path | None, folder: Path) -> None:
        self.target, self._folder = target, folder
        self.name = f"ssh {target}"
        own = ["-F", str(config)] if config else []
        self._words = ["ssh", *own, "-o", f"ControlPath={folder}/s"]

    @classmethod
    def open(cls, target: str, config: Path | None = None) -> SshShell:
        """GuestUnreachable if ssh does not get in, or does not become root."""
        # ssh would take it as an option.
        if target.startswith("-") or any(not c.isprintable() or c.isspace() for c in target):
            raise bad_value(f"'{target}' is not a host", "--ssh", target, "write --ssh root@web01")
        shell = cls(target, config, Path(tempfile.mkdtemp(prefix="growdisk-ssh-")))
        try:
            answer = shell.run("id -u", 90)
        except GuestLost as error:
            shell.close()
            hint = f"see that this works without a question: ssh {target} true"
            raise GuestUnreachable(shell.name, reason=error.reason, hint=hint) from error
        if answer.status != 0 or answer.stdout.strip() != b"0":
            shell.close()
            hint = f"let {target} use sudo without a password, or log in as root"
            raise GuestUnreachable(shell.name, f"no root there: {answer.last_words}", hint)
        return shell

    def run(self, script: str, timeout: float, on_line: LineCallback | None = None) -> GuestAnswer:
        try:
            words = [*self._words, *_OPTIONS, "--", self.target, _AS_ROOT]
            done = run(words, input=script, timeout=timeout, accept=None, on_line=on_line)
        except ToolTimedOut as error:
            raise GuestLost(self.name, f"a script had not ended after {timeout:.0f} s") from error
        # ssh's own failures: a script that ended so would be taken for one.
        if done.status == _SSH_FAILED:
            raise GuestLost(self.name, reason=done.last_words)
        return GuestAnswer(done.status, done.stdout.encode(), done.stderr.encode())

    def close(self) -> None:
        """End the shared connection."""
        if (self._folder / "s").exists():
            run([*self._words, "-O", "exit", "--", self.target], accept=None, timeout=20)
        shutil.rmtree(self._folder, ignore_errors=True)
