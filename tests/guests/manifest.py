"""What is in a guest's file system, name by name, to be compared before and after.

Read by a foreign library.
"""

from __future__ import annotations

import hashlib
import json
import stat
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.guests.ext2fs import Ext2Filesystem, Inode, open_ext
from tests.guests.layouts import SECTOR
from tests.guests.tools import run

_IMMUTABLE_AND_APPEND = 0x30


@dataclass(frozen=True)
class FileFacts:
    """All that a user could miss of one file.

    `content`: sha256 of a file's data, a link's target.
    """

    mode: int
    owner: tuple[int, int]
    mtime: int
    links: int
    size: int
    flags: int
    content: str
    xattrs: tuple[tuple[str, str], ...]


Manifest = Mapping[str, FileFacts]


def file_manifest(image: Path, image_format: str = "qcow2", number: int | None = 1) -> Manifest:
    """The files of partition `number` (None: the whole disk) by path.

    The image may not be in use.
    """
    with as_raw(image, image_format) as raw:
        offset = partition_start(raw, number) if number is not None else 0
        with open_ext(raw, offset) as filesystem:
            return dict(_facts(filesystem))


def differences(before: Manifest, after: Manifest, *, aside: Collection[str] = ()) -> list[str]:
    """Paths that appeared, vanished or changed, apart from those in `aside`."""
    paths = sorted((before.keys() | after.keys()) - set(aside))
    return [
        _difference(path, before.get(path), after.get(path))
        for path in paths
        if before.get(path) != after.get(path)
    ]


@contextmanager
def as_raw(image: Path, image_format: str) -> Iterator[Path]:
    """The guest-visible bytes as a raw (sparse) file for foreign tools."""
    if image_format == "raw":
        yield image
        return
    with tempfile.TemporaryDirectory(prefix="growdisk-raw-", dir="/var/tmp") as scratch:
        raw = Path(scratch) / "disk.raw"
        run("qemu-img", "convert", "-U", "-f", image_format, "-O", "raw", image, raw)
        yield raw


def partition_start(raw: Path, number: int) -> int:
    """The byte where partition `number` begins, as sfdisk sees it."""
    table = json.loads(run("sfdisk", "--json", raw))["partitiontable"]
    starts = {part["node"].removeprefix(str(raw)): part["start"] for part in table["partitions"]}
    return int(starts[str(number)] if str(number) in starts else starts[f"p{number}"]) * SECTOR


def _facts(filesystem: Ext2Filesystem) -> Iterator[tuple[str, FileFacts]]:
    for path, inode in filesystem.walk():
        yield path.decode(errors="surrogateescape"), _facts_of(filesystem, inode)


def _facts_of(filesystem: Ext2Filesystem, inode: Inode) -> FileFacts:
    xattrs = sorted((name, value.hex()) for name, value in filesystem.xattrs(inode).items())
    directory = stat.S_ISDIR(inode.mode)
    return FileFacts(
        mode=inode.mode,
        owner=(inode.uid, inode.gid),
        mtime=inode.mtime,
        links=inode.links,
        size=0 if directory else inode.size,
        flags=inode.flags & _IMMUTABLE_AND_APPEND,
        content=_content(filesystem, inode),
        xattrs=tuple(xattrs),
    )


def _content(filesystem: Ext2Filesystem, inode: Inode) -> str:
    if stat.S_ISLNK(inode.mode):
        return filesystem.link_target(inode).decode(errors="surrogateescape")
    if stat.S_ISREG(inode.mode):
        digest = hashlib.sha256()
        for chunk in filesystem.chunks(inode):
            digest.update(chunk)
        return digest.hexdigest()
    return inode.block[:8].hex() if stat.S_ISCHR(inode.mode) or stat.S_ISBLK(inode.mode) else ""


def _difference(path: str, before: FileFacts | None, after: FileFacts | None) -> str:
    if before is None or after is None:
        return f"{path}: {'appeared' if before is None else 'vanished'}"
    names = [name for name in vars(before) if getattr(before, name) != getattr(after, name)]
    return f"{path}: " + ", ".join(
        f"{name} {getattr(before, name)} → {getattr(after, name)}" for name in names
    )


def main() -> None:
    """`python -m tests.guests.manifest IMAGE [FORMAT]`: one line a file, for diff."""
    image, image_format = sys.argv[1], (*sys.argv[2:], "qcow2")[0]
    for path, facts in sorted(file_manifest(Path(image), image_format).items()):
        digest = hashlib.sha256(repr(facts).encode()).hexdigest()
        sys.stdout.write(f"{digest} {ascii(path)[1:-1]}\n")


if __name__ == "__main__":
    main()
