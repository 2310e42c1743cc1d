"""/etc/passwd, /etc/group and /etc/shadow as texts: who is who, and the line of a password.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from growdisk.guest_config.customize.changes import cannot_customize


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
