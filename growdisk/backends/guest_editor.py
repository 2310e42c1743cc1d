"""Files made and removed, and commands run, in a guest that is mounted inside the appliance."""

from __future__ import annotations

from growdisk.backends.guest_files import MountedGuest
from growdisk.backends.guest_handle import guest_call
from growdisk.guest_config.customize.changes import Owner
from growdisk.guest_config.customize.errors import CommandFailed
from growdisk.host.command import last_lines
from growdisk.host.memory_file import memory_file

_ONE_MESSAGE = 2 << 20  # libguestfs holds 4 MiB
_ENVIRONMENT = "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8\n"


class MountedEditor(MountedGuest):
    """Implements GuestEditor."""

    def put(self, path: str, content: bytes, owner: Owner) -> None:
        with guest_call(f"write {path}"):
            if len(content) <= _ONE_MESSAGE:
                self._handle.write(path, content)
            else:
                self._upload(path, content)
            self._own(path, owner)

    def make_folder(self, path: str, owner: Owner) -> None:
        with guest_call(f"make {path}"):
            self._handle.mkdir_p(path)
            self._own(path, owner)

    def remove(self, path: str) -> None:
        with guest_call(f"remove {path}"):
            self._handle.rm(path)

    def link(self, path: str, target: str) -> None:
        with guest_call(f"make {path}"):
            self._handle.ln_s(target, path)

    def run(self, command: str) -> None:
        """In a chroot with /dev, /proc and /sys, without a network."""
        try:
            self._handle.sh(_ENVIRONMENT + command)
        except RuntimeError as error:
            raise CommandFailed(command, last_lines(str(error)) or "it gave no reason") from error

    def _own(self, path: str, owner: Owner) -> None:
        self._handle.chown(owner.uid, owner.gid, path)
        self._handle.chmod(owner.mode, path)  # last: chown takes the setuid bit away

    def _upload(self, path: str, content: bytes) -> None:
        with memory_file(content) as copy:
            self._handle.upload(str(copy), path)
