"""New SSH host keys at the first boot, in guests whose sshd is started in various ways."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from growdisk.guest_config.customize.changes import FileOwner, GuestChanges
from growdisk.guest_config.customize.customize import customize
from tests.refusals import raises
from tests.unit.backends.memory_files import Files

_UNIT = "/etc/systemd/system/growdisk-ssh-host-keys.service"
_LINK = "/etc/systemd/system/multi-user.target.wants/growdisk-ssh-host-keys.service"
# Ubuntu's, since 22.10.
_SOCKET = """\
[Unit]
Before=sockets.target ssh.service
[Socket]
ListenStream=22
Accept=no
"""
_SERVICE = "[Unit]\nAfter=network.target\n[Service]\nExecStart=/bin/true\n"


class _Guest(Files):
    """One with folders and links as well."""

    def exists(self, path: str) -> bool:
        return any(f"{known}/".startswith(f"{path}/") for known in self.contents)

    def put(self, path: str, content: bytes, owner: FileOwner) -> None:
        self.contents[path] = content

    def make_folder(self, path: str, owner: FileOwner) -> None:
        pass

    def link(self, path: str, target: str) -> None:
        self.contents[path] = target.encode()

    def remove(self, path: str) -> None:
        del self.contents[path]


def _without_keys(*paths: str) -> dict[str, bytes]:
    keys = {f"/etc/ssh/ssh_host_rsa_key{end}": "x" for end in ("", ".pub")}
    guest = _Guest(**keys, **dict.fromkeys((*paths, "/etc/ssh/x", "/etc/systemd/system/x"), ""))
    changes = GuestChanges(remove_ssh_host_keys=True)
    (said,) = customize(guest, changes)  # type: ignore[arg-type]
    assert said == "ssh host keys: 2 files removed; the first boot makes new ones"
    return guest.contents


def test_what_a_store_has_made_is_not_changed() -> None:
    """NixOS makes keys itself, and has /etc/systemd/system as a link into its store."""
    assert _UNIT not in _without_keys("/etc/NIXOS")

    class Linked(_Guest):
        def glob(self, pattern: str) -> list[str]:
            return [path for path in super().glob(pattern) if path != "/etc/hostname"]

    guest = Linked(**{"/etc/NIXOS": "", "/etc/hostname": "nixos\n", "/etc/hosts": ""})
    with raises("cannot-customize", match="store"):
        list(customize(guest, GuestChanges(hostname="web")))  # type: ignore[arg-type]
    assert guest.contents["/etc/hostname"] == b"nixos\n"


def test_systemd_starts_all_where_a_socket_starts_sshd(tmp_path: Path) -> None:
    files = _without_keys()
    unit = files[_UNIT].decode().replace("/usr/bin/ssh-keygen -A", "/bin/true")
    for name, text in (
        ("growdisk-ssh-host-keys.service", unit),
        ("ssh.socket", _SOCKET),
        ("ssh.service", _SERVICE),
    ):
        (tmp_path / name).write_text(text)
    for target, name in (
        ("sockets", "ssh.socket"),
        ("multi-user", "growdisk-ssh-host-keys.service"),
    ):
        (tmp_path / f"{target}.target.wants").mkdir()
        (tmp_path / f"{target}.target.wants" / name).symlink_to(f"../{name}")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "multi-user.target"],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:/usr/lib/systemd/system"},
        capture_output=True,
        text=True,
    )
    assert "cycle" not in done.stderr and "growdisk" not in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["sshd-keygen@", "sshd-keygen", "sshdgenkeys"])
def test_a_guest_that_makes_its_keys_itself_gets_no_unit(name: str) -> None:
    files = _without_keys(f"/usr/lib/systemd/system/{name}.service")
    assert _UNIT not in files and _LINK not in files


def test_a_guest_that_does_not_gets_one() -> None:
    assert _without_keys()[_LINK].decode() == _UNIT
