"""Files that a careless copy loses:
odd owners, modes, names, times, links, holes and extended attributes.

They travel as a tar, the one container that an ordinary user can write with any owner in it.
"""

from __future__ import annotations

import io
import random
import tarfile
from dataclasses import dataclass
from pathlib import Path

_LATIN1_NAME = b"latin1-caf\xe9".decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Entry:
    """One file system object. `kind` is a tarfile type; `link` the target of a link."""

    path: str
    data: bytes = b""
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    mtime: int = 1_700_000_000
    kind: bytes = tarfile.REGTYPE
    link: str = ""


def directory(path: str, mode: int = 0o755, owner: tuple[int, int] = (0, 0)) -> Entry:
    return Entry(path, mode=mode, owner=owner, kind=tarfile.DIRTYPE)


def text(path: str, content: str, mode: int = 0o644) -> Entry:
    return Entry(path, content.encode(), mode)


def write_tar(path: Path, entries: list[Entry]) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as tar:
        for entry in entries:
            tar.addfile(_header(entry), io.BytesIO(entry.data))
    return path


def _header(entry: Entry) -> tarfile.TarInfo:
    info = tarfile.TarInfo(entry.path)
    info.size = len(entry.data)
    info.mode = entry.mode
    info.mtime = entry.mtime
    info.type = entry.kind
    info.uid, info.gid = entry.owner
    info.linkname = entry.link
    return info


ODD_XATTRS = {
    "srv/odd/tagged": {
        "user.note": b"keep me",
        "user.long": b"too long for the inode, so it gets a block of its own: " * 12,
        "trusted.binary": bytes(range(256)),
    },
    # cap_net_raw+ep, as on ping
    "srv/odd/setuid": {
        "security.capability": bytes.fromhex("0100000200200000000000000000000000000000")
    },
}


def odd_files(crowd: int = 40) -> list[Entry]:
    """A folder /srv/odd with one of everything, and one with `crowd` files."""
    return [
        directory("srv"),
        directory("srv/odd"),
        *_owners(),
        *_names(),
        *_links(),
        *_shapes(),
        *_crowd(crowd),
    ]


def _owners() -> list[Entry]:
    return [
        Entry("srv/odd/setuid", b"#!/bin/true\n", mode=0o4755),
        Entry("srv/odd/foreign", b"owned by nobody here\n", mode=0o640, owner=(1234, 54321)),
        Entry("srv/odd/secret", b"no bit set\n", mode=0o000, owner=(70000, 70001)),
        directory("srv/odd/sticky", mode=0o1777),
        directory("srv/odd/setgid", mode=0o2750, owner=(1000, 1000)),
        Entry("srv/odd/tagged", b"tagged\n"),
        Entry("srv/odd/from-1970", b"old\n", mtime=1),
        Entry("srv/odd/from-2037", b"new\n", mtime=2_145_000_000),
    ]


def _names() -> list[Entry]:
    names = ["Ünïcödé ☃ 文件.txt", "two  spaces", "-rf", "quote'\"$`", "n" * 255, _LATIN1_NAME]
    return [Entry(f"srv/odd/{name}", name.encode("utf-8", "surrogateescape")) for name in names]


def _links() -> list[Entry]:
    return [
        Entry("srv/odd/twin-a", b"one inode, three names\n"),
        Entry("srv/odd/twin-b", kind=tarfile.LNKTYPE, link="srv/odd/twin-a"),
        Entry("srv/odd/sticky/twin-c", kind=tarfile.LNKTYPE, link="srv/odd/twin-a"),
        Entry("srv/odd/short-link", kind=tarfile.SYMTYPE, link="twin-a", mode=0o777),
        Entry(
            "srv/odd/dangling",
            kind=tarfile.SYMTYPE,
            link="/nowhere/" + "deep/" * 30,
            mode=0o777,
            owner=(7, 8),
        ),
        Entry("srv/odd/pipe", kind=tarfile.FIFOTYPE, mode=0o622),
    ]


def _shapes() -> list[Entry]:
    """Contents: empty, one byte, incompressible, and three islands in a sea of holes."""
    islands = bytearray(24 << 20)
    for offset in (0, 9 << 20, (24 << 20) - 5):
        islands[offset : offset + 5] = b"isle\n"
    noise = random.Random(2024).randbytes(3_000_001)
    return [
        Entry("srv/odd/empty"),
        Entry("srv/odd/one-byte", b"1"),
        Entry("srv/odd/noise", noise),
        Entry("srv/odd/islands", bytes(islands)),
    ]


def _crowd(count: int) -> list[Entry]:
    """A few hundred names make a directory with an index tree."""
    files = [
        Entry(f"srv/odd/crowd/file-{number:04}", b"%d\n" % number, owner=(number, 0))
        for number in range(count)
    ]
    return [directory("srv/odd/crowd"), *files]
