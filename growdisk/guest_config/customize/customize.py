"""Makes the changes to a guest before its first boot. Says what it did, never a password.

Everything that can be refused is looked at while nothing has been written: a user that is not
there, a folder that is missing. Commands find the files and the name, and come before the accounts,
which they may have to make.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from growdisk.fast_dataclass import NamedTuple
from growdisk.guest_config.customize.changes import (
    FileChange,
    FileOwner,
    GuestChanges,
    GuestEditor,
    LoginKeys,
    cannot_customize,
)
from growdisk.guest_config.files import decode, encode, selinux_is_on, text_of
from growdisk.host import clock
from growdisk.host.command import run

_HOSTNAME, _HOSTS = "/etc/hostname", "/etc/hosts"
_MACHINE_ID, _DBUS_ID = "/etc/machine-id", "/var/lib/dbus/machine-id"
_RELABEL = "/.autorelabel"
_NO_SSH = "ssh host keys: the guest has no /etc/ssh"
_DAY = 86400
# Systems that make /etc of their configuration, mostly as links into a store that is never changed:
# NixOS and Guix, which also make host keys where there are none.
_DECLARED = ("/etc/NIXOS", "/var/guix/profiles/system")
_NEW_HOSTS = "127.0.0.1\tlocalhost\n"
_LOGIN_DEFS, _PAM = "/etc/login.defs", "/etc/pam.d/common-password"


def customize(guest: GuestEditor, changes: GuestChanges) -> Iterator[str]:
    """Yields what was done, a line each."""
    # All that can be refused, before the first write. With commands, accounts are looked at again
    # below: a command may make them.
    files = [(file, _owner(guest, file)) for file in changes.files]
    _check_declared(guest, changes)
    if not changes.commands:
        _check_accounts(guest, changes)
    for file, owner in files:
        _put_file(guest, file, owner)
        yield f"{file.path}: copied in, {owner.uid}:{owner.gid} {owner.mode:04o}"
    if changes.hostname:
        yield _name(guest, changes.hostname)
    for command in changes.commands:
        guest.run(command)
        yield f"ran: {command}"
    _check_accounts(guest, changes)
    yield from _make_its_own(guest, changes)
    # What was written here has no labels, and sshd may not read a key without.
    if selinux_is_on(guest):
        guest.put(_RELABEL, b"", FileOwner())
        yield f"{_RELABEL}: the first boot labels all files for SELinux, and restarts"


def _check_declared(guest: GuestEditor, changes: GuestChanges) -> None:
    if not any(map(guest.exists, _DECLARED)):
        return
    for path in (
        *(file.path for file in changes.files),
        *((_HOSTNAME, _HOSTS) if changes.hostname else ()),
    ):
        # exists() follows links, glob() leaves them out.
        if guest.exists(path) and not guest.glob(path):
            raise cannot_customize(
                f"write {path}",
                "it is a link into the store of NixOS or Guix, of which nothing may be changed",
                "set it in the guest's configuration (networking.hostName), and rebuild",
            )


def _make_its_own(guest: GuestEditor, changes: GuestChanges) -> Iterator[str]:
    """What tells this guest from others, and who may log in."""
    if changes.reset_machine_id:
        yield _reset_machine_id(guest)
    if changes.new_ssh_host_keys:
        yield _new_host_keys(guest, changes.hostname or "localhost")
    elif changes.remove_ssh_host_keys:
        yield _remove_host_keys(guest)
    for login in changes.authorized_keys:
        yield _authorize(guest, login, _account(guest, login.user, "authorize keys"))
    for password in changes.passwords:
        shadow, hashed = decode(guest.read("/etc/shadow")), password.hashed
        if password.older and not _knows_yescrypt(guest):
            hashed = password.older
        # The day of the change. 0 would make the guest ask for a new password at the first login.
        days = clock.now() // _DAY
        guest.write("/etc/shadow", encode(with_password(shadow, password.user, hashed, days)))
        yield password.described()


def _knows_yescrypt(guest: GuestEditor) -> bool:
    """What its own passwd would write; other guests may not even read it."""
    texts = [text_of(guest, path) for path in (_LOGIN_DEFS, _PAM)]
    return any(
        "yescrypt" in line.lower()
        for text in texts
        for line in text.splitlines()
        if not line.startswith("#")
    )


def _check_accounts(guest: GuestEditor, changes: GuestChanges) -> None:
    for login in changes.authorized_keys:
        account = _account(guest, login.user, "authorize keys")
        if not guest.exists(account.home):
            hint = f"make it first: --run 'mkhomedir_helper {login.user}'"
            raise cannot_customize(
                f"authorize keys for {login.user}", f"{account.home} is not there", hint
            )
    for password in changes.passwords:
        _account(guest, password.user, "set a password")


def _name(guest: GuestEditor, name: str) -> str:
    old = text_of(guest, _HOSTNAME).strip()
    _rewrite(guest, _HOSTNAME, f"{name}\n".encode(), FileOwner())
    hosts = text_of(guest, _HOSTS) if guest.exists(_HOSTS) else _NEW_HOSTS
    _rewrite(guest, _HOSTS, encode(hosts_for(hosts, old, name)), FileOwner())
    return f"hostname: {name}"


def _reset_machine_id(guest: GuestEditor) -> str:
    """Empty the machine ID, so that systemd makes one."""
    # Without the file systemd takes the boot for the first one, and presets all units. An image may
    # have been built without one.
    _rewrite(guest, _MACHINE_ID, b"", FileOwner(mode=0o444))
    for copy in guest.glob(_DBUS_ID):  # a link is left out: it leads to the other
        guest.remove(copy)
    return "machine-id: the first boot makes one"


def _new_host_keys(guest: GuestEditor, host: str) -> str:
    if not guest.exists("/etc/ssh"):
        return _NO_SSH
    _take_host_keys(guest)
    prints = []
    for path, content, mode in _host_keys(host):
        guest.put(path, content, FileOwner(mode=mode))
        prints += [_fingerprint(content)] if path.endswith(".pub") else []
    return f"ssh host keys: new ones: {' '.join(prints)}"


def _take_host_keys(guest: GuestEditor) -> int:
    found = guest.glob(f"{_HOST_KEYS}_key") + guest.glob(f"{_HOST_KEYS}_key.pub")
    for key in found:
        guest.remove(key)
    return len(found)


def _remove_host_keys(guest: GuestEditor) -> str:
    if not guest.exists("/etc/ssh"):
        return _NO_SSH
    found = _take_host_keys(guest)
    if not guest.exists("/etc/systemd/system"):
        return f"ssh host keys: {found} files removed; without systemd, see that new ones are made"
    if not any(map(guest.exists, (*_OWN_KEYS_UNITS, *_DECLARED))):
        guest.put(_KEYS_UNIT, _KEYS_UNIT_TEXT.encode(), FileOwner())
        guest.make_folder(_WANTED_BY, FileOwner(mode=0o755))
        link = f"{_WANTED_BY}/{PurePosixPath(_KEYS_UNIT).name}"
        if not guest.exists(link):
            guest.link(link, _KEYS_UNIT)
    return f"ssh host keys: {found} files removed; the first boot makes new ones"


def _authorize(guest: GuestEditor, login: LoginKeys, account: Account) -> str:
    folder = f"{account.home.rstrip('/')}/.ssh"
    path = f"{folder}/authorized_keys"
    guest.make_folder(folder, FileOwner(account.uid, account.gid, 0o700))
    present = text_of(guest, path).splitlines()
    lines = [*present, *(key for key in dict.fromkeys(login.keys) if key not in present)]
    guest.put(
        path,
        encode("".join(f"{line}\n" for line in lines)),
        FileOwner(account.uid, account.gid, 0o600),
    )
    return f"authorized keys of {login.user}: {len(login.keys)} in {path}"


def _put_file(guest: GuestEditor, file: FileChange, owner: FileOwner) -> None:
    missing = []
    folder = PurePosixPath(file.path).parent
    while not guest.exists(str(folder)):
        missing.append(folder)
        folder = folder.parent
    for parent in reversed(missing):
        guest.make_folder(str(parent), FileOwner(mode=0o755))
    guest.put(file.path, file.content, owner)


def _rewrite(guest: GuestEditor, path: str, content: bytes, owner: FileOwner) -> None:
    """New content; `owner` is for a file that is not there yet."""
    if guest.exists(path):
        guest.write(path, content)
    else:
        guest.put(path, content, owner)


def _account(guest: GuestEditor, user: str, action: str) -> Account:
    return account_of(decode(guest.read("/etc/passwd")), user, f"{action} for {user}")


def _owner(guest: GuestEditor, file: FileChange) -> FileOwner:
    action = f"copy {file.path}"
    if file.owner.isdecimal():
        uid, gid = int(file.owner), int(file.owner)
    else:
        account = account_of(decode(guest.read("/etc/passwd")), file.owner, action)
        uid, gid = account.uid, account.gid
    if file.group:
        known = group_ids(text_of(guest, "/etc/group"))
        if not file.group.isdecimal() and file.group not in known:
            raise cannot_customize(
                action, f"it has no group '{file.group}'", "name one of /etc/group, or a number"
            )
        gid = int(file.group) if file.group.isdecimal() else known[file.group]
    return FileOwner(uid, gid, file.mode)


# --- /etc/hosts, passwd, group and shadow as texts ----------------------------------------------

# Debian gives the host's own name this address, so that it is known without a network.
_OWN_ADDRESS = "127.0.1.1"


def hosts_for(hosts: str, old: str, new: str) -> str:
    """/etc/hosts of a guest that was called `old`: its own lines name `new` instead.

    A full name is followed by the short one.
    """
    names = [new, new.partition(".")[0]] if "." in new else [new]
    own = f"{_OWN_ADDRESS}\t{' '.join(names)}"
    lines, found = [], False
    for line in hosts.splitlines():
        words = line.partition("#")[0].split()
        # The line of its own name becomes ours, and further ones of that address go.
        if words[:1] == [_OWN_ADDRESS]:
            if not found:
                lines.append(own)
            found = True
        elif words and words[0] in ("127.0.0.1", "::1") and _has(words[1:], old):
            # Other systems have the old name beside localhost: it goes there, and gets a line of
            # its own.
            kept = [word for word in words[1:] if not _has([word], old)]
            lines.append("\t".join([words[0], " ".join(kept or ["localhost"])]))
        else:
            lines.append(line)
    if not found:
        last = max(
            (n for n, line in enumerate(lines) if line.split()[:1] == ["127.0.0.1"]), default=-1
        )
        lines.insert(last + 1, own)
    return "\n".join(lines) + "\n"


def _has(words: list[str], name: str) -> bool:
    short = name.partition(".")[0]
    return short not in ("", "localhost") and any(word.partition(".")[0] == short for word in words)


class Account(NamedTuple):
    name: str
    uid: int
    gid: int
    home: str


def accounts(passwd: str) -> Mapping[str, Account]:
    """By name; lines that make no sense are left out, as the guest itself does."""
    found = {}
    for line in passwd.splitlines():
        name, *rest = line.split(":")
        # name:password:uid:gid:comment:home:shell
        if len(rest) == 6 and rest[1].isdecimal() and rest[2].isdecimal():
            found[name] = Account(name, int(rest[1]), int(rest[2]), rest[4])
    return found


def group_ids(group: str) -> Mapping[str, int]:
    rows = (line.split(":") for line in group.splitlines())
    return {row[0]: int(row[2]) for row in rows if len(row) == 4 and row[2].isdecimal()}


def account_of(passwd: str, user: str, action: str) -> Account:
    account = accounts(passwd).get(user)
    if account is None:
        people = ", ".join(
            name
            for name, known in accounts(passwd).items()
            if known.uid == 0 or 1000 <= known.uid < 60000
        )
        hint = f"name one that is there ({people}), or add it first: --run 'useradd -m {user}'"
        raise cannot_customize(action, f"it has no user '{user}'", hint)
    return account


def with_password(shadow: str, user: str, hashed: str, days: int) -> str:
    """`days` since 1970: when the password was changed."""
    lines = shadow.splitlines()
    for number, line in enumerate(lines):
        fields = line.split(":")
        if fields[0] == user:
            # name:password:changed:min:max:warn:inactive:expire:reserved. What is set of the rest
            # stays.
            fields[1:3] = [hashed, str(days)]
            lines[number] = ":".join(fields)
            break
    else:
        lines.append(":".join([user, hashed, str(days), "0", "99999", "7", "", "", ""]))
    return "\n".join(lines) + "\n"


# --- SSH host keys ------------------------------------------------------------------------------

# Debian's sshd does not start without host keys. The unit makes them at a boot that finds none,
# before sshd; cloud-init, if installed, has then made them already or makes them again. It stays in
# the guest and does nothing later on. It cannot come before ssh.socket, which comes before
# basic.target, and that before it. Fedora and Arch have such units: with two at once, the halves of
# a key might not fit.
_HOST_KEYS = "/etc/ssh/ssh_host_*"
_KEYS_UNIT = "/etc/systemd/system/growdisk-ssh-host-keys.service"
_OWN_KEYS_UNITS = [
    f"/usr/lib/systemd/system/{name}.service"
    for name in ("sshd-keygen@", "sshd-keygen", "sshdgenkeys")
]
_WANTED_BY = "/etc/systemd/system/multi-user.target.wants"
_KEYS_UNIT_TEXT = """\
# Written by growdisk provision, which removed the SSH host keys: no two guests share them.
[Unit]
Description=Make the SSH host keys of this machine
Before=ssh.service sshd.service
ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key

[Service]
Type=oneshot
# Seconds of work, for which nobody but sshd has to wait.
Nice=19
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
"""
_MEMORY = "/dev/shm"
_KINDS = ("ed25519", "ecdsa", "rsa")


def _host_keys(host: str) -> Iterator[tuple[str, bytes, int]]:
    """New keys by ssh-keygen, in a private folder (in memory): path, content, mode."""
    in_memory = _MEMORY if Path(_MEMORY).is_dir() else None
    with tempfile.TemporaryDirectory(prefix="growdisk-", dir=in_memory) as folder:
        for kind in _KINDS:
            key = Path(folder) / f"ssh_host_{kind}_key"
            run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", f"root@{host}", "-f", key])
            yield f"/etc/ssh/{key.name}", key.read_bytes(), 0o600
            yield f"/etc/ssh/{key.name}.pub", key.with_suffix(".pub").read_bytes(), 0o644


def _fingerprint(public: bytes) -> str:
    """As ssh shows it when it first meets the guest."""
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"
