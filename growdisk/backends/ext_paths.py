"""Finds a guest's files by their paths, as its own kernel would: symbolic links, and /boot on a file system of its own.

Reads only, and starts nothing: a plan can look through a guest in milliseconds.
"""

from __future__ import annotations

import fnmatch
from typing import NamedTuple

from growdisk.filesystems.ext_tree import ROOT, ExtTree, Inode, Unknown

_MOST_LINKS = 40
_BOOT = "boot"


class Place(NamedTuple):
    """An inode, and the file system that it belongs to."""

    tree: ExtTree
    inode: Inode


class ExtPaths:
    """`root` is the guest's root file system, `boot` what its fstab mounts at /boot."""

    def __init__(self, root: ExtTree, boot: ExtTree | None = None) -> None:
        self.root, self.boot = root, boot

    def find(self, path: str, *, follow: bool = True) -> Place | None:
        """The inode at `path`; a symbolic link itself with `follow` false. None where there is nothing."""
        walked = [self._top()]
        names = _parts(path)
        links = 0
        while names:
            name = names.pop(0)
            if name == "..":
                walked = walked[:-1] or [self._top()]
                continue
            here = walked[-1]
            number = here.tree.entries(here.inode).get(name) if here.inode.is_directory else None
            if number is None:
                return None
            found = Place(here.tree, here.tree.inode(number))
            if found.inode.is_link and (names or follow):
                links += 1
                if links > _MOST_LINKS:
                    raise Unknown(f"{path} leads through too many symbolic links")
                target = found.tree.read(found.inode).decode("utf-8", "surrogateescape")
                walked = [self._top()] if target.startswith("/") else walked
                names = _parts(target) + names
            elif self.boot and len(walked) == 1 and name == _BOOT:
                walked.append(Place(self.boot, self.boot.inode(ROOT)))
            else:  # the last part may be a link that is not followed
                walked.append(found)
        return walked[-1]

    def matching(self, pattern: str) -> list[str]:
        """Regular files that match; wildcards only in the last part. Symbolic links are left out."""
        folder, _, last = pattern.rpartition("/")
        place = self.find(folder or "/")
        if place is None or not place.inode.is_directory:
            return []
        names = place.tree.entries(place.inode)
        found = [name for name in names if fnmatch.fnmatchcase(name, last) and name.startswith(".") <= (last[0] == ".")]
        return sorted(f"{folder}/{name}" for name in found if place.tree.inode(names[name]).is_file)

    def _top(self) -> Place:
        return Place(self.root, self.root.inode(ROOT))


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
