"""What to change inside a guest, every value known: no templates, no clear-text passwords."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass, field
from growdisk.guest_config.files import GuestFiles


@dataclass(frozen=True)
class FileOwner:
    """Of a file or a folder in the guest; `mode` without the bits of its type."""

    uid: int = 0
    gid: int = 0
    mode: int = 0o644


@dataclass(frozen=True)
class FileChange:
    """A file to copy in. `owner` and `group` are names or numbers; `group` "": the owner's own."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644
    owner: str = "root"
    group: str = ""


@dataclass(frozen=True)
class LoginKeys:
    """Public keys that may log in as `user`, a line each."""

    user: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class NewPassword:
    """A password; `hashed` is for /etc/shadow, `older` the same for guests without yescrypt."""

    user: str
    hashed: str = field(repr=False)
    older: str = field(repr=False, default="")

    def described(self) -> str:
        # shadow(5): what begins so is the hash of no password.
        return f"password of {self.user}: {'locked' if self.hashed[:1] in '!*' else 'set'}"


@dataclass(frozen=True)
class GuestChanges:
    hostname: str = ""
    reset_machine_id: bool = False
    remove_ssh_host_keys: bool = False
    new_ssh_host_keys: bool = False
    authorized_keys: tuple[LoginKeys, ...] = ()
    passwords: tuple[NewPassword, ...] = ()
    files: tuple[FileChange, ...] = ()
    commands: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        return self != GuestChanges()

    def described(self) -> Iterator[str]:
        """What would be done, a line each, for those who only want to look."""
        yield from (f"{file.path}: copied in" for file in self.files)
        yield from [f"hostname: {self.hostname}"] if self.hostname else []
        yield from (f"run: {command}" for command in self.commands)
        yield from ["machine-id: reset"] if self.reset_machine_id else []
        yield from ["ssh host keys: removed"] if self.remove_ssh_host_keys else []
        yield from ["ssh host keys: new ones, made here"] if self.new_ssh_host_keys else []
        yield from (
            f"authorized keys of {login.user}: {len(login.keys)}" for login in self.authorized_keys
        )
        yield from (password.described() for password in self.passwords)


class GuestEditor(GuestFiles, Protocol):
    """A guest's files, to be changed.

    Parents are never made on the way; links are followed inside the guest.
    """

    def put(self, path: str, content: bytes, owner: FileOwner) -> None:
        """Make the file, or give it new content; then owner and mode."""

    def make_folder(self, path: str, owner: FileOwner) -> None:
        """Make the folder if it is not there; then owner and mode."""

    def remove(self, path: str) -> None:
        """A file or a link, which must be there."""

    def link(self, path: str, target: str) -> None:
        """A symbolic link, where nothing is yet."""

    def run(self, command: str) -> None:
        """A shell command as root inside the guest's own tree."""


def cannot_customize(action: str, reason: str, hint: str) -> Refused:
    """The guest is not such that this could be done."""
    return Refused.because(
        "cannot-customize", "cannot {action} in the guest", reason, hint, action=action
    )
