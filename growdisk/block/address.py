"""Addresses of disks that another program serves: nbd://, nbd+unix:// and ssh://.

nbd://far/web01, nbd+unix:///web01?socket=/run/far, ssh://far/srv/web01.raw

Specs: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md, and QEMU's form of ssh://.
"""

from __future__ import annotations

import re

from growdisk.errors import UsageError, bad_value
from growdisk.fast_dataclass import dataclass

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import Literal

    Scheme = Literal["nbd", "nbd+unix", "ssh"]

_PORTS = {"nbd": 10809, "ssh": 0}  # ssh looks into its own configuration
_HOST = r"[A-Za-z0-9_][\w.-]*|[0-9A-Fa-f:]+(%[\w.-]+)?"  # a name, or an address of IPv6
_USER = r"[\w.][\w.-]*"
_ANY = r"(nbds?(?:\+\w+)?|rbd|iscsi|iser|ssh|sftp|gluster(?:\+\w+)?|nfs|https?|ftp|s3):/*"
NOT_HERE = "{} is an address, which is not taken here"
WHERE_TAKEN = (
    "show, plan, expand, status, resume, rollback and commit take nbd://, nbd+unix:// and ssh://"
)
_SHAPE = (
    "nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH, or ssh://[USER@]HOST[:PORT]/PATH"
)


@dataclass(frozen=True)
class Address:
    """An address: `path` is the export (nbd) or the file (ssh), `socket` is for nbd+unix.

    If `user` is "" and `port` is 0, ssh's own configuration decides.
    """

    scheme: Scheme
    path: str
    host: str = ""
    port: int = 0
    socket: str = ""
    user: str = ""

    @property
    def name(self) -> str:
        """The same for all ways to write it. Who logs in does not matter: the disk is the same."""
        from urllib.parse import quote

        if self.scheme == "nbd+unix":
            return f"nbd+unix:///{quote(self.path)}?socket={quote(self.socket)}"
        host = f"[{self.host}]" if ":" in self.host else self.host.lower()
        port = f":{self.port}" if self.port != _PORTS[self.scheme] else ""
        # ssh's path begins with the slash that stands in the address below.
        path = self.path.removeprefix("/") if self.scheme == "ssh" else self.path
        return f"{self.scheme}://{host}{port}/{quote(path)}"

    def __str__(self) -> str:
        return self.name.replace("://", f"://{self.user}@", 1) if self.user else self.name


def address_of(word: str) -> Address | None:
    """The address that `word` is, even if a Path has removed slashes; None if it is none of these.

    UsageError if it is one that cannot be understood.
    """
    match = re.match(r"(nbd\+unix|nbd|ssh):/+", word)
    if match is None:
        return None
    if match[1] == "nbd+unix":
        return _unix("nbd+unix:///" + word[match.end() :], word)
    # Path makes one slash of two: ssh:/far/x and ssh://far/x are the same here.
    return _inet(re.sub(r"^(\w+):/{1,2}", r"\1://", word, count=1), word)


def scheme_of(word: str) -> str:
    """Of any address of a disk, also of one that growdisk does not take; "" if it is none."""
    match = re.match(_ANY, word)
    return match[1] if match else ""


def as_written(word: str) -> str:
    """The address of which a Path has eaten slashes."""
    scheme = scheme_of(word)
    # rbd:POOL/IMAGE has no slashes; the sockets' forms have an empty host, so three.
    slashes = {"rbd": "", "": "", "nbd+unix": ":///", "nbds+unix": ":///"}.get(scheme, "://")
    return re.sub(r":/+", slashes, word, count=1) if slashes else word


# Each command asks whether its disk is an address, and hardly any is: urllib.parse waits for one.


def _unix(uri: str, word: str) -> Address:
    from urllib.parse import parse_qs, unquote, urlsplit

    parts = urlsplit(uri)
    sockets = parse_qs(parts.query).get("socket", [])
    if len(sockets) != 1 or not sockets[0].startswith("/"):
        raise _wrong(word, "it names no socket by its whole path")
    return Address("nbd+unix", unquote(parts.path.removeprefix("/")), socket=sockets[0])


def _inet(uri: str, word: str) -> Address:
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(uri)
    scheme: Scheme = "nbd" if parts.scheme == "nbd" else "ssh"
    host, user = parts.hostname or "", unquote(parts.username or "")
    try:
        # urlsplit() looks at the port only when it is asked for.
        port = parts.port or _PORTS[scheme]
    except ValueError as error:
        raise _wrong(word, "its port is not a number") from error
    if not re.fullmatch(_HOST, host):
        raise _wrong(word, "it names no host")
    if (
        parts.password is not None
        or parts.query
        or parts.fragment
        or (user and not re.fullmatch(_USER, user))
    ):
        raise _wrong(
            word, "it has parts that growdisk does not take: a password, a query, an odd user"
        )
    if scheme == "nbd":
        if user:
            raise _wrong(word, "nbd has no users")
        return Address(scheme, unquote(parts.path.removeprefix("/")), host, port)
    if len(parts.path) < 2 or parts.path.endswith("/"):
        raise _wrong(word, "it names no file")
    return Address(scheme, unquote(parts.path), host, port, user=user)


def _wrong(word: str, problem: str) -> UsageError:
    return bad_value(
        f"cannot read the address '{word}'", "", word, hint=f"write {_SHAPE}", reason=problem
    )
