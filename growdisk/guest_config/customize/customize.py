"""Carries orders out on a guest's files. Says what it did, never a password.

Everything that can be refused is looked at while nothing has been written: a user that is not
there, a folder that is missing. Commands find the files and the name, and come before the accounts,
which they may have to make.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from growdisk.guest_config.customize import ssh_keys
from growdisk.guest_config.customize.accounts import Account, account_of, group_ids, with_password
from growdisk.guest_config.customize.changes import (
    FileChange,
    FileOwner,
    GuestChanges,
    GuestEditor,
    KeysOrder,
    cannot_customize,
)
from growdisk.guest_config.customize.hostname import hosts_for
from growdisk.guest_config.files import SELINUX_CONFIG, decode, encode, selinux_is_on
from growdisk.host import clock

_MACHINE_ID, _DBUS_ID = "/etc/machine-id", "/var/lib/dbus/machine-id"
_RELABEL = "/.autorelabel"
_NO_SSH = "ssh host keys: the guest has no /etc/ssh"
_DAY = 86400
_LOGIN_DEFS, _PAM = "/etc/login.defs", "/etc/pam.d/common-password"


def customize(guest: GuestEditor, changes: GuestChanges) -> Iterator[str]:
    """Yields what was done, a line each."""
    # All that can be refused, before the first write. With commands, accounts are looked at again
    # below: a command may make them.
    files = [(order, _owner(guest, order)) for order in changes.files]
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
    if guest.exists(SELINUX_CONFIG) and selinux_is_on(decode(guest.read(SELINUX_CONFIG))):
        guest.put(_RELABEL, b"", FileOwner())
        yield f"{_RELABEL}: the first boot labels all files for SELinux, and restarts"


def _make_its_own(guest: GuestEditor, changes: GuestChanges) -> Iterator[str]:
    """What tells this guest from others, and who may log in."""
    if changes.reset_machine_id:
        yield _reset_machine_id(guest)
    if changes.new_ssh_host_keys:
        yield _new_host_keys(guest, changes.hostname or "localhost")
    elif changes.remove_ssh_host_keys:
        yield _remove_host_keys(guest)
    for order in changes.authorized_keys:
        yield _authorize(guest, order, _account(guest, order.user, "authorize keys"))
    for password in changes.passwords:
        shadow, hashed = decode(guest.read("/etc/shadow")), password.hashed
        if password.older and not _knows_yescrypt(guest):
            hashed = password.older
        # The day of the change. 0 would make the guest ask for a new password at the first login.
        days = clock.now() // _DAY
        guest.write("/etc/shadow", encode(with_password(shadow, password.user, hashed, days)))
        yield f"password of {password.user}: set"


def _knows_yescrypt(guest: GuestEditor) -> bool:
    """What its own passwd would write; other guests may not even read it."""
    texts = [decode(guest.read(path)) for path in (_LOGIN_DEFS, _PAM) if guest.exists(path)]
    return any(
        "yescrypt" in line.lower()
        for text in texts
        for line in text.splitlines()
        if not line.startswith("#")
    )


def _check_accounts(guest: GuestEditor, changes: GuestChanges) -> None:
    for order in changes.authorized_keys:
        account = _account(guest, order.user, "authorize keys")
        if not guest.exists(account.home):
            hint = f"make it first: --run 'mkhomedir_helper {order.user}'"
            raise cannot_customize(
                f"authorize keys for {order.user}", f"{account.home} is not there", hint
            )
    for password in changes.passwords:
        _account(guest, password.user, "set a password")


def _name(guest: GuestEditor, name: str) -> str:
    old = decode(guest.read("/etc/hostname")).strip() if guest.exists("/etc/hostname") else ""
    _rewrite(guest, "/etc/hostname", f"{name}\n".encode())
    hosts = (
        decode(guest.read("/etc/hosts")) if guest.exists("/etc/hosts") else "127.0.0.1\tlocalhost\n"
    )
    _rewrite(guest, "/etc/hosts", encode(hosts_for(hosts, old, name)))
    return f"hostname: {name}"


def _reset_machine_id(guest: GuestEditor) -> str:
    """Empty the machine ID, so that systemd makes one."""
    # Without the file systemd takes the boot for the first one, and presets all units.
    if guest.exists(_MACHINE_ID):
        guest.write(_MACHINE_ID, b"")
    else:
        # An image that was built without one.
        guest.put(_MACHINE_ID, b"", FileOwner(mode=0o444))
    for copy in guest.glob(_DBUS_ID):  # a link is left out: it leads to the other
        guest.remove(copy)
    return "machine-id: the first boot makes one"


def _new_host_keys(guest: GuestEditor, host: str) -> str:
    if not guest.exists("/etc/ssh"):
        return _NO_SSH
    _take_host_keys(guest)
    prints = []
    for path, content, mode in ssh_keys.new_host_keys(host):
        guest.put(path, content, FileOwner(mode=mode))
        prints += [ssh_keys.fingerprint(content)] if path.endswith(".pub") else []
    return f"ssh host keys: new ones: {' '.join(prints)}"


def _take_host_keys(guest: GuestEditor) -> int:
    found = guest.glob(f"{ssh_keys.KEYS}_key") + guest.glob(f"{ssh_keys.KEYS}_key.pub")
    for key in found:
        guest.remove(key)
    return len(found)


def _remove_host_keys(guest: GuestEditor) -> str:
    if not guest.exists("/etc/ssh"):
        return _NO_SSH
    found = _take_host_keys(guest)
    if not guest.exists("/etc/systemd/system"):
        return f"ssh host keys: {found} files removed; without systemd, see that new ones are made"
    guest.put(ssh_keys.UNIT, ssh_keys.UNIT_TEXT.encode(), FileOwner())
    guest.make_folder(ssh_keys.WANTED_BY, FileOwner(mode=0o755))
    link = f"{ssh_keys.WANTED_BY}/{PurePosixPath(ssh_keys.UNIT).name}"
    if not guest.exists(link):
        guest.link(link, ssh_keys.UNIT)
    return f"ssh host keys: {found} files removed; the first boot makes new ones"


def _authorize(guest: GuestEditor, order: KeysOrder, account: Account) -> str:
    folder = f"{account.home.rstrip('/')}/.ssh"
    path = f"{folder}/authorized_keys"
    guest.make_folder(folder, FileOwner(account.uid, account.gid, 0o700))
    present = decode(guest.read(path)).splitlines() if guest.exists(path) else []
    lines = [*present, *(key for key in dict.fromkeys(order.keys) if key not in present)]
    guest.put(
        path,
        encode("".join(f"{line}\n" for line in lines)),
        FileOwner(account.uid, account.gid, 0o600),
    )
    return f"authorized keys of {order.user}: {len(order.keys)} in {path}"


def _put_file(guest: GuestEditor, file: FileChange, owner: FileOwner) -> None:
    missing = []
    folder = PurePosixPath(file.path).parent
    while not guest.exists(str(folder)):
        missing.append(folder)
        folder = folder.parent
    for parent in reversed(missing):
        guest.make_folder(str(parent), FileOwner(mode=0o755))
    guest.put(file.path, file.content, owner)


def _rewrite(guest: GuestEditor, path: str, content: bytes) -> None:
    if guest.exists(path):
        guest.write(path, content)
    else:
        guest.put(path, content, FileOwner())


def _account(guest: GuestEditor, user: str, action: str) -> Account:
    return account_of(decode(guest.read("/etc/passwd")), user, f"{action} for {user}")


def _owner(guest: GuestEditor, order: FileChange) -> FileOwner:
    action = f"copy {order.path}"
    if order.owner.isdecimal():
        uid, gid = int(order.owner), int(order.owner)
    else:
        account = account_of(decode(guest.read("/etc/passwd")), order.owner, action)
        uid, gid = account.uid, account.gid
    if order.group:
        known = group_ids(decode(guest.read("/etc/group"))) if guest.exists("/etc/group") else {}
        if not order.group.isdecimal() and order.group not in known:
            raise cannot_customize(
                action, f"it has no group '{order.group}'", "name one of /etc/group, or a number"
            )
        gid = int(order.group) if order.group.isdecimal() else known[order.group]
    return FileOwner(uid, gid, order.mode)
