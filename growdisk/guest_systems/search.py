"""Searches a guest's homes for whatever still names what is gone: verifies their repair.

It knows nothing of what a file means: every text file below /etc, /boot, the EFI system partition
and other places of settings is read for the bytes of a UUID, a label, a device's name, and every
file's own name as well; initrds and unified kernel images are unpacked. Comments do not count, nor
does what the block before an initrd handles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache

from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.file_tree import Unknown
from growdisk.filesystems.unpacking import Unpackable, unpacked
from growdisk.guest_config import initrd, places
from growdisk.guest_config.files import LARGEST_SETTINGS, is_said
from growdisk.guest_config.initrd_content import contents_of
from growdisk.guest_config.initrd_repair import REMEDIES
from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.guest_config.unified import NO_RESUME, Unified, is_program
from growdisk.guest_systems.look import Home
from growdisk.guest_systems.paths import FoundInode, GuestPaths

_LARGEST_INITRD = 1 << 29
_MOST_FILES, _DEEPEST = 20_000, 8
# Of what a plan reads, in bytes: all, the largest file, and what each counts at least.
_MOST_FIRST, _LARGEST_FIRST, _EACH = 64 << 20, 64 << 10, 4 << 10
_ALTERNATIVES = "/etc/alternatives/"  # links to programs and manual pages
_NOTHING = b"/dev/null"
_BLOCKS = "zzz-growdisk-"
_HISTORIES = frozenset({".git", ".hg", ".bzr", "_darcs"})  # of etckeeper: thousands of files
_OBEYS_NORESUME = ("conf/", "etc/cmdline", "etc/conf.d/")


class Unsearched(ValueError):
    """The text says why, of a file that could not be searched."""


@dataclass(frozen=True)
class Found:
    """Files that name a needle, and files that could not be searched.

    `named` have one of the needles outside of comments, or in their name: each with what in it does
    so and what helps, or ""; `unsearched`: each with why.
    """

    named: dict[str, str]
    unsearched: dict[str, str]


def search_first(home: Home, needles: tuple[bytes, ...]) -> Iterator[str]:
    """What a plan can know soon: small files of a system's owner that name a needle as text."""
    left = _MOST_FIRST
    for path, place in _files(home.paths, places.SEARCHED_FIRST, {}):
        left -= min(place.inode.size, _LARGEST_FIRST) + _EACH
        if left < 0:
            return
        with suppress(Unknown):
            if _says(path, place, needles):
                yield path


def _says(path: str, place: FoundInode, needles: tuple[bytes, ...]) -> bool:
    if _is_said_by_name(path, needles):
        return not _is_masked(place)
    is_small = place.inode.is_file and place.inode.size <= _LARGEST_FIRST
    return is_small and is_said(place.tree.read(place.inode), needles)


def search(home: Home, parts: Sequence[RemovedPartition], needles: Sequence[bytes]) -> Found:
    found = Found({}, {})
    tops = places.SEARCHED if home.rooted else ("",)
    for number, (path, place) in enumerate(_files(home.paths, tops, found.unsearched)):
        if number >= _MOST_FILES:
            found.unsearched["the rest"] = f"there are more than {_MOST_FILES} files"
            break
        try:
            if (naming := _said_in(path, place, parts, tuple(needles))) is not None:
                found.named[path] = naming
        except (Unknown, Unsearched) as reason:
            found.unsearched[path] = str(reason)
    return found


def _files(
    paths: GuestPaths, tops: Sequence[str], unread: dict[str, str]
) -> Iterator[tuple[str, FoundInode]]:
    """Each once, whatever links lead to it: by its own place first.

    `unread` gets folders that cannot be read, each with why.
    """
    # Links wait until all places have been walked: what they lead to may come by its own name.
    seen: set[tuple[int, int]] = set()
    links: list[tuple[str, FoundInode]] = []
    tops = [top for one in tops for top in (paths.folders(one) if "*" in one else [one])]
    for top in tops:
        for path, place in _below(paths, top, None, _DEEPEST, seen, unread):
            if (
                place.inode.is_link
                and _ALTERNATIVES not in path
                and (target := _target(paths, path))
            ):
                links.append((path, target))
            else:
                seen.add(_key(place))
                yield path, place
    yield from ((path, place) for path, place in links if _key(place) not in seen)


def _key(place: FoundInode) -> tuple[int, int]:
    return id(place.tree), place.inode.number


def _target(paths: GuestPaths, path: str) -> FoundInode | None:
    """The file that a link leads to."""
    try:
        place = paths.find(path)
    except Unknown:
        return None
    return place if place is not None and place.inode.is_file else None


def _below(
    paths: GuestPaths,
    folder: str,
    place: FoundInode | None,
    depth: int,
    seen: set[tuple[int, int]],
    unread: dict[str, str],
) -> Iterator[tuple[str, FoundInode]]:
    try:
        # Where nothing is mounted a folder is what its entry says.
        place = paths.find(folder or "/") if place is None or paths.mounts else place
        if place is None or not place.inode.is_directory or _key(place) in seen:
            return
        seen.add(_key(place))
        entries = {n: paths.place(place.tree, number) for n, number in paths.entries(place).items()}
    except Unknown as reason:
        unread[folder] = str(reason)
        return
    for name, entry in entries.items():
        path = f"{folder}/{name}"
        if not entry.inode.is_directory:
            yield path, entry
        # Each of the others is searched by itself.
        elif depth and path not in places.SEARCHED and name not in _HISTORIES:
            yield from _below(paths, path, entry, depth - 1, seen, unread)


def _said_in(
    path: str, place: FoundInode, parts: Sequence[RemovedPartition], needles: tuple[bytes, ...]
) -> str | None:
    """None if it names nothing of what is gone."""
    # A file's name speaks for itself, and its content does not matter any more.
    if _is_said_by_name(path, needles):
        return None if _is_masked(place) else ""
    if place.inode.is_link or not 0 < place.inode.size <= _LARGEST_INITRD:
        return None
    # A small file is read once, as a whole; of a large one the start tells what it is.
    is_small = place.inode.size <= LARGEST_SETTINGS
    start = place.tree.read(place.inode) if is_small else place.tree.read(place.inode, initrd.HEAD)
    head = start[: initrd.HEAD]
    if initrd.is_initrd(head):
        content = start if is_small else place.tree.read(place.inode)
        # Packed with gzip or xz may be anything: a manual page, a kernel. Then its text counts.
        if (text := _packed_text(content, named="initr" in path.rpartition("/")[2])) is not None:
            return "" if is_said(text, needles) else None
        return _said_in_initrd(
            content, needles, forgets=all(initrd.forgets(head, part) for part in parts)
        )
    # U-Boot's header has a checksum: nothing can stand before it, and no block of ours does.
    if initrd.is_wrapped(head):
        return _said_in_initrd(
            place.tree.read(place.inode)[initrd.UBOOT_HEADER :], needles, forgets=False
        )
    if is_program(head):
        return _said_in_program(place.tree.read(place.inode), needles)
    return "" if is_small and is_said(start, needles) else None


def _is_said_by_name(path: str, needles: tuple[bytes, ...]) -> bool:
    """dev-disk-by\\x2duuid-….swap, dev-sda5.swap"""
    name = path.rpartition("/")[2].encode("utf-8", "surrogateescape")
    plain = name.replace(b"\\x2d", b"-")
    long, units = _in_names(needles)
    return any(needle in plain for needle in long) or any(
        name.startswith(needle + b".") or b"-" + needle in name for needle in units
    )


@lru_cache(maxsize=4)  # there are hundreds of names, and the same needles for all
def _in_names(needles: tuple[bytes, ...]) -> tuple[list[bytes], list[bytes]]:
    """What of them may be in any name, and what begins the name of a unit."""
    # Long ones only: a short name (sda5, or a label, swap) is in names that have nothing to do
    # with it.
    names = (needle.rpartition(b"/")[2] for needle in needles if b"=" not in needle)
    long = [name for name in names if len(name) > 10]
    return long, [needle for needle in needles if needle.startswith(b"dev-") or b"\\x2d" in needle]


def _is_masked(place: FoundInode) -> bool:
    """A unit of systemd: empty, or a link to nothing."""
    if place.inode.is_link:
        return place.tree.read(place.inode) == _NOTHING
    return place.inode.is_file and not place.inode.size


def _packed_text(content: bytes, *, named: bool) -> bytes | None:
    """What is packed in a file: a manual page, a kernel; None for an initrd, or one `named` so."""
    try:
        if named or initrd.is_archive(content) or initrd.is_archive(unpacked(content, initrd.HEAD)):
            return None
        return unpacked(content, LARGEST_SETTINGS)
    except Unpackable:
        return b""


def _said_in_initrd(content: bytes, needles: tuple[bytes, ...], *, forgets: bool) -> str | None:
    """What in an initrd still names it, and the command that helps; None if nothing does."""
    contents = contents_of(content)
    if contents.unread:
        raise Unsearched(contents.unread)
    spoken_for = _OBEYS_NORESUME if forgets else ()
    # Our own blocks name it on purpose.
    left = [
        name
        for name in contents.naming(needles)
        if _BLOCKS not in name and not name.startswith(spoken_for)
    ]
    return f"{left[0]} in it: run {REMEDIES[contents.maker]}" if left else None


def _said_in_program(content: bytes, needles: tuple[bytes, ...]) -> str | None:
    try:
        image = Unified(content)
    except ValueError:
        return None
    lines = image.command_lines
    if is_said("\n".join(lines).encode("utf-8", "surrogateescape"), needles):
        return "its command line"
    forgets = all(NO_RESUME in line.split() for line in lines)
    return _said_in_initrd(image.initrd, needles, forgets=forgets) if image.initrd else None
