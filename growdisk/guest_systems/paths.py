"""Finds a guest's files by path as its kernel would: links, mounts, FAT names without case.

Reads only, and starts nothing: a plan can look through a guest in milliseconds.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from growdisk.fast_dataclass import NamedTuple
from growdisk.filesystems.file_tree import FileTree, Node

_MOST_LINKS = 40
_WILD = frozenset("*?[")
K = TypeVar("K")
V = TypeVar("V")


class FoundInode(NamedTuple):
    """An inode, and the file system that it belongs to."""

    tree: FileTree
    inode: Node


class MountRoot(NamedTuple):
    """A directory of a file system that is the root of something: of the guest, of a mount."""

    tree: FileTree
    number: int

    @property
    def place(self) -> FoundInode:
        return FoundInode(self.tree, self.tree.inode(self.number))


class GuestPaths:
    """`root` is the guest's root, `mounts` what is mounted in it: /boot, /boot/efi.

    `still`: nobody writes to it meanwhile, so that each directory is read once.
    """

    def __init__(
        self, root: MountRoot, mounts: Mapping[str, MountRoot] | None = None, *, still: bool = False
    ) -> None:
        self.root, self.mounts, self._still = root, dict(mounts or {}), still
        self._listed: dict[tuple[int, int], dict[str, int]] = {}
        self._known: dict[tuple[str, bool], FoundInode | None] = {}
        self._places: dict[tuple[int, int], FoundInode] = {}
        self._matched: dict[tuple[str, str, bool], list[str]] = {}
        self._files: dict[str, list[str]] = {}

    def mount(self, place: str, mounted: MountRoot) -> None:
        self.mounts[place] = mounted
        for seen in (self._known, self._matched, self._files):
            seen.clear()

    @property
    def trees(self) -> list[FileTree]:
        """All file systems, each once."""
        mounted = (self.root, *self.mounts.values())
        return list({id(mount.tree): mount.tree for mount in mounted}.values())

    def find(self, path: str, *, follow: bool = True) -> FoundInode | None:
        """The inode at `path`; a symbolic link itself with `follow` false.

        None if there is nothing.
        """
        return self._once(self._known, (path, follow), lambda: self._find(path, follow=follow))

    def _once(self, seen: dict[K, V], key: K, look: Callable[[], V]) -> V:
        """What a look finds: one look is enough in a still guest; mount() makes it look again."""
        if key in seen:
            return seen[key]
        found = look()
        if self._still:
            seen[key] = found
        return found

    def _find(self, path: str, *, follow: bool) -> FoundInode | None:
        walked: list[tuple[str, FoundInode]] = []
        names = _parts(path)
        links = 0
        while names:
            name = names.pop(0)
            # Not by the entry "..": at the root of a mount that would lead astray.
            if name == "..":
                walked = walked[:-1]
                continue
            folder = walked[-1][1] if walked else self.root.place
            # Looked up even where something is mounted: a mount needs a directory below it.
            found = self._child(folder, name)
            if found is None:
                return None
            if found.inode.is_link and (names or follow):
                links += 1
                if links > _MOST_LINKS:
                    return None  # to a kernel as well it leads nowhere
                target = found.tree.read(found.inode).decode("utf-8", "surrogateescape")
                # A relative target begins where the link lies, which `walked` still is.
                walked = [] if target.startswith("/") else walked
                names = _parts(target) + names
                continue
            # Mounts are known by their real paths: links in between have been followed.
            mounted = self.mounts.get("/" + "/".join([*(step for step, _ in walked), name]))
            walked.append((name, mounted.place if mounted else found))
        return walked[-1][1] if walked else self.root.place

    def names(self, folder: str) -> list[str]:
        """What is in a directory; nothing if it is none."""
        place = self.find(folder or "/")
        return sorted(self.entries(place)) if place is not None and place.inode.is_directory else []

    def entries(self, place: FoundInode) -> dict[str, int]:
        """The entries of a directory: names with their inode numbers."""
        key = (id(place.tree), place.inode.number)
        return self._once(self._listed, key, lambda: place.tree.entries(place.inode))

    def matching(self, pattern: str) -> list[str]:
        """Regular files that match; symbolic links are left out."""
        # Each swap space is looked for in the same places.
        return self._once(self._files, pattern, lambda: self._sorted(pattern, self._is_file))

    def links(self, pattern: str) -> list[str]:
        """Symbolic links that match."""
        return sorted(filter(self._is_link, self._matches("", _parts(pattern))))

    def folders(self, pattern: str) -> list[str]:
        """Directories that match."""
        return self._sorted(pattern, self.is_directory)

    def _sorted(self, pattern: str, is_wanted: Callable[[str], bool]) -> list[str]:
        return sorted(filter(is_wanted, self._matches("", _parts(pattern))))

    def is_directory(self, path: str) -> bool:
        place = self.find(path)
        return place is not None and place.inode.is_directory

    def _child(self, folder: FoundInode, name: str) -> FoundInode | None:
        if not folder.inode.is_directory:
            return None
        entries = self.entries(folder)
        number = entries.get(name)
        if number is None and folder.tree.ignores_case:
            number = next((n for one, n in entries.items() if one.lower() == name.lower()), None)
        return None if number is None else self.place(folder.tree, number)

    def place(self, tree: FileTree, number: int) -> FoundInode:
        """Inode `number` of one of its trees."""
        # Not in another guest: an inode may be changed by what we write ourselves.
        key = (id(tree), number)
        return self._once(self._places, key, lambda: FoundInode(tree, tree.inode(number)))

    def _is_folder(self, place: FoundInode, folder: str, name: str) -> bool:
        """As is_directory() has it, without the way from the root where nothing else lies there."""
        child = self._child(place, name)
        if child is not None and (child.inode.is_link or f"{folder}/{name}" in self.mounts):
            return self.is_directory(f"{folder}/{name}")
        return child is not None and child.inode.is_directory

    def _is_file(self, path: str) -> bool:
        place = self.find(path, follow=False)
        return place is not None and place.inode.is_file

    def _is_link(self, path: str) -> bool:
        place = self.find(path, follow=False)
        return place is not None and place.inode.is_link

    def _matches(self, folder: str, parts: list[str]) -> Iterator[str]:
        if not parts:
            yield folder
            return
        first, rest = parts[0], parts[1:]
        if _WILD.isdisjoint(first):
            if not rest or self.is_directory(f"{folder}/{first}"):
                yield from self._matches(f"{folder}/{first}", rest)
            return
        # Many patterns begin alike.
        key = folder, first, bool(rest)
        for name in self._once(self._matched, key, lambda: self._named(*key)):
            yield from self._matches(f"{folder}/{name}", rest)

    def _named(self, folder: str, pattern: str, only_folders: bool) -> list[str]:
        """What is in a folder under such a name."""
        # As in a shell, a wildcard does not match a dot at the start.
        hidden = pattern.startswith(".")
        found = [name for name in self.names(folder) if hidden or not name.startswith(".")]
        place = self.find(folder or "/")
        if place is None:
            return []
        no_case = re.IGNORECASE if place.tree.ignores_case else 0
        wanted = re.compile(fnmatch.translate(pattern), no_case)
        return [
            name
            for name in found
            if wanted.match(name)
            and not (only_folders and not self._is_folder(place, folder, name))
        ]


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
