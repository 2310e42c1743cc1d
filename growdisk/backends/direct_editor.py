"""Files made and removed by debugfs, in a guest that is not mounted.

Works as DirectGuest does: our own reader finds the place, debugfs changes it by inode number,
e2fsck judges at the end.
"""

from __future__ import annotations

import stat
from pathlib import PurePosixPath

from growdisk.errors import ToolFailed
from growdisk.guest_config.customize.changes import FileOwner, cannot_customize
from growdisk.guest_systems.file_rewriter import EMPTY_FILE, DirectGuest, ext_place
from growdisk.guest_systems.paths import FoundInode
from growdisk.host import clock


class DirectEditor(DirectGuest):
    """Implements GuestEditor, but for commands: they need a kernel."""

    def put(self, path: str, content: bytes, owner: FileOwner) -> None:
        # `write` of debugfs makes an empty file of one of the sandbox; its content comes after.
        if not self.exists(path):
            self._in_folder(path, f"write {EMPTY_FILE}")
        self.write(path, content)
        self._set_owner(path, owner)

    def make_folder(self, path: str, owner: FileOwner) -> None:
        place = self._paths.find(path)
        if place is None:
            self._in_folder(path, "mkdir")
        elif not place.inode.is_directory:
            reason = "there is something else by this name"
            raise cannot_customize(f"make {path}", reason, "choose another place")
        self._set_owner(path, owner)

    def remove(self, path: str) -> None:
        place = self._paths.find(path, follow=False)
        if place is None or place.inode.is_directory:
            raise ToolFailed(f"removing {path}", 1, "there is no such file in the guest")
        self._in_folder(path, "rm")

    def link(self, path: str, target: str) -> None:
        self._in_folder(path, "symlink", _quoted(target))

    def run(self, command: str) -> None:
        hint = "use --backend guestfs"
        raise ToolFailed("running a command in the guest", 1, "that needs a kernel", hint)

    def _set_owner(self, path: str, owner: FileOwner) -> None:
        place = self._paths.find(path)
        if place is None:
            raise ToolFailed(f"making {path}", 1, "debugfs made something else")
        kind = stat.S_IFMT(place.inode.mode)
        # The mode of an inode has the file's kind in its upper bits; a leading 0 makes it octal.
        values = {
            "mode": f"0{kind | owner.mode:o}",
            "uid": owner.uid,
            "gid": owner.gid,
            "ctime": f"@{clock.now()}",
        }
        self._edit(
            ext_place(place)[0],
            [f"sif <{place.inode.number}> {name} {value}" for name, value in values.items()],
        )

    def _in_folder(self, path: str, action: str, *words: str) -> None:
        """Do something with the last name of `path` in its folder, whose time shows it."""
        folder, name = self._folder(path), PurePosixPath(path).name
        # By inode number: a path may lead through links and mounts, unlike debugfs.
        number, now = folder.inode.number, clock.now()
        times = [f"sif <{number}> {stamp} @{now}" for stamp in ("mtime", "ctime")]
        self._edit(
            ext_place(folder)[0],
            [f"cd <{number}>", " ".join([action, _quoted(name), *words]), *times],
        )

    def _folder(self, path: str) -> FoundInode:
        parent = str(PurePosixPath(path).parent)
        place = self._paths.find(parent)
        if place is None or not place.inode.is_directory:
            reason = f"it has no folder {parent}"
            raise cannot_customize(f"make {path}", reason, "name a folder that is there")
        return place


def _quoted(word: str) -> str:
    """`word` quoted for a command of debugfs; cannot-customize if it is not printable."""
    # A line break in a name would be the next command.
    if not word or not word.isprintable():
        reason = f"{word!r} cannot be its name"
        raise cannot_customize("make a file", reason, "choose a printable one")
    return '"' + word.replace('"', '""') + '"'
