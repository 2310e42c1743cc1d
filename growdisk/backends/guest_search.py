"""Searches a guest's homes for whatever still names what is gone: the other road by which its repair is verified.

It knows nothing of what a file means: every text file below /etc, /boot and the EFI system partition is read for the
bytes of a UUID, a label, a device's name, and every file's own name as well. Comments do not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from growdisk.backends.guest_look import Home
from growdisk.backends.guest_paths import GuestPaths, Place
from growdisk.backends.guest_repair import initrd, places
from growdisk.backends.guest_repair.unified import is_program
from growdisk.filesystems.file_tree import Unknown

_LARGEST = 1 << 20  # larger files are no settings
_MOST_FILES, _DEEPEST = 20_000, 8
_COMMENTS = (b"#", b";", b"//")


def mentions(home: Home, needles: Sequence[bytes]) -> list[str]:
    """The paths of files that contain one of `needles` outside of comments, or have one in their name.

    Initrds and unified kernel images are not among them: who changes those looks inside.
    """
    found: list[str] = []
    tops = places.SEARCHED if home.rooted else ("",)
    for number, (path, place) in enumerate(_files(home.paths, tops)):
        if number >= _MOST_FILES:
            break
        if _names(path, place, needles):
            found.append(path)
    return list(dict.fromkeys(found))


def _files(paths: GuestPaths, tops: Sequence[str]) -> Iterator[tuple[str, Place]]:
    tops = [top for pattern in tops for top in (paths.folders(pattern) if "*" in pattern else [pattern])]
    for top in tops:
        yield from _below(paths, top, _DEEPEST)


def _below(paths: GuestPaths, folder: str, depth: int) -> Iterator[tuple[str, Place]]:
    place = paths.find(folder or "/")
    if place is None or not place.inode.is_directory:
        return
    for name, number in paths.entries(place).items():
        path = f"{folder}/{name}"
        inode = place.tree.inode(number)
        if not inode.is_directory:
            yield path, Place(place.tree, inode)
        elif depth and path not in places.SEARCHED:  # each is searched by itself
            yield from _below(paths, path, depth - 1)


def _names(path: str, place: Place, needles: Sequence[bytes]) -> bool:
    name = path.rpartition("/")[2].replace("\\x2d", "-").encode("utf-8", "surrogateescape")
    if any(needle.rpartition(b"/")[2] in name for needle in needles if len(needle) > 10 and b"=" not in needle):
        return True
    if place.inode.is_link or not 0 < place.inode.size <= _LARGEST:
        return False
    try:
        content = place.tree.read(place.inode)
    except Unknown:
        return False
    if initrd.is_initrd(content) or is_program(content) or not any(needle in content for needle in needles):
        return False
    lines = content.split(b"\n")
    return any(_is_said(line, needle) for line in lines for needle in needles)


def _is_said(line: bytes, needle: bytes) -> bool:
    at = line.find(needle)
    after = line[at + len(needle) : at + len(needle) + 1]
    return at >= 0 and not after.isdigit() and not line.lstrip().startswith(_COMMENTS)
