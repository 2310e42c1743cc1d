"""A guest's files without a mount: our reader reads, our engine rewrites their own blocks.

debugfs does what concerns the file system's metadata (blocks, sizes, times) and keeps their
checksums; the inode stays, with owner, mode, xattrs and hard links. What it cannot do right is
refused by `unfit`, before anything is written. Blocks are taken or freed first, then the content is
written into them: the step's snapshot guards all of it.
"""

from __future__ import annotations

from collections.abc import Callable

from growdisk.errors import ToolFailed
from growdisk.filesystems.ext_features import unknown_to_writers
from growdisk.filesystems.ext_tree import ExtTree, Inode
from growdisk.filesystems.file_tree import Unknown
from growdisk.filesystems.swap import swap_header
from growdisk.guest_config.files import swap_file_label
from growdisk.guest_systems.paths import FoundInode, GuestPaths
from growdisk.host import clock

_SWAP_MODE = "0100600"  # a regular file, rw for its owner alone
# Features of the superblock: the first is of incompat, the others are of ro_compat.
_INLINE_DATA, _LARGE_FILE = 0x8000, 0x2
_QUOTA = 0x100
_KEEPS_QUOTA = "a file system that keeps quota, which debugfs would not count"
_LARGE = 1 << 31
EMPTY_FILE = "/etc/mtab"  # of the sandbox

Debugfs = Callable[[ExtTree, list[str]], None]


class DirectGuest:
    """Implements GuestFiles (guest_config/files.py).

    `debugfs` carries out commands on a file system; None: only look.
    """

    def __init__(self, paths: GuestPaths, debugfs: Debugfs | None) -> None:
        self._paths, self._debugfs = paths, debugfs
        self.written: list[ExtTree] = []
        self._first_paths: dict[tuple[int, int], str] = {}
        # Sizes and times that are not written yet. Each start of debugfs takes time: they go with
        # the next commands for that file system, or when somebody reads the inode.
        self._later: dict[ExtTree, dict[int, list[str]]] = {}

    def read(self, path: str) -> bytes:
        place = self._file(path)
        return place.tree.read(place.inode)

    def read_start(self, path: str, length: int) -> bytes:
        place = self._file(path)
        return place.tree.read(place.inode, length)

    def exists(self, path: str) -> bool:
        return self._paths.find(path) is not None

    def glob(self, pattern: str) -> list[str]:
        """Each file by one path, whatever links lead to it."""
        # ostree's /boot/loader is a link to /boot/loader.1: the first path that is seen counts.
        return [path for path in self._paths.matching(pattern) if self._is_first(path)]

    def write(self, path: str, content: bytes) -> None:
        """New content for a file, which keeps its inode with all that hangs on it."""
        place = self._file(path)
        if reason := unfit(place):
            raise ToolFailed(f"writing {path}", 1, f"it is {reason}", "use --backend guestfs")
        tree, inode = ext_place(place)
        old, new = _blocks(tree, inode.size), _blocks(tree, len(content))
        commands = self._take_blocks(tree, inode.number, old, new) if new > old else []
        # What lies beyond the new end is given back, also what was allocated ahead of the old one.
        if tree.runs(inode) and new < (
            end := max(run.logical + run.length for run in tree.runs(inode))
        ):
            commands.append(f"punch <{inode.number}> {new} {end - 1}")
        now = clock.now()
        fields = {"size": len(content), "mtime": f"@{now}", "ctime": f"@{now}"}
        commands += [f"sif <{inode.number}> {name} {value}" for name, value in fields.items()]
        if new > old:  # its blocks must be marked before they are filled
            self._edit(tree, commands)
        else:
            self._later.setdefault(tree, {})[inode.number] = commands
        self._fill(tree, inode.number, content)

    def flush(self) -> None:
        """Carry out what write() has left to be done with the next command."""
        for tree in list(self._later):
            self._edit(tree, [])

    def prepend(self, path: str, block: bytes) -> None:
        self.write(path, block + self.read(path))

    def make_swap_file(self, path: str, size: int, uuid: str, page_size: int) -> None:
        """Make a swap file in the root directory, mode 0600, all its blocks allocated.

        The kernel refuses holes.
        """
        if self.exists(path):
            raise ToolFailed(f"making {path}", 1, "there is such a file in the guest already")
        tree, name = ext_place(self._paths.root.place)[0], path.removeprefix("/")
        if reason := unfit_for_swap_file(tree, size):
            raise ToolFailed(f"making {path}", 1, reason, "use --backend guestfs")
        now, first, blocks = clock.now(), _blocks(tree, page_size), _blocks(tree, size)
        # The header's blocks are to hold data; the rest is only taken, and reads as zeros.
        # Made empty in the root directory, where debugfs starts; all else is set by its commands.
        self._edit(tree, [f"write {EMPTY_FILE} {name}"])
        marks = self._take_blocks(tree, self._file(path).inode.number, 0, first)
        self._edit(
            tree,
            [
                *marks,
                f"sif {path} mode {_SWAP_MODE}",
                f"sif {path} uid 0",
                f"sif {path} gid 0",
                f"sif {path} size {size}",
                f"fallocate {path} {first} {blocks - 1}",
                *(f"sif {path} {stamp} @{now}" for stamp in ("atime", "mtime", "ctime")),
                f"sif / mtime @{now}",
                f"sif / ctime @{now}",
            ],
        )
        place = self._file(path)
        if sum(run.length for run in tree.runs(tree.inode(place.inode.number))) != blocks:
            raise ToolFailed(f"making {path}", 1, "the guest's file system has no room for it")
        # The header is the first page: `first` blocks, which are marked as written.
        self._fill(tree, place.inode.number, swap_header(size, uuid, "", page_size))
        if label := swap_file_label(self):
            self._edit(tree, [f"ea_set {path} security.selinux {label}"])

    def _is_first(self, path: str) -> bool:
        place = self._paths.find(path)
        assert place is not None, path
        return self._first_paths.setdefault((id(place.tree), place.inode.number), path) == path

    def _file(self, path: str) -> FoundInode:
        place = self._paths.find(path)
        if place is None or not place.inode.is_file:
            raise ToolFailed(f"reading {path}", 1, "there is no such file in the guest")
        if any(place.tree is one and place.inode.number in ids for one, ids in self._later.items()):
            # It has been written since: its inode on the disk is old, and so is `place`.
            self.flush()
            return self._file(path)
        return place

    def _take_blocks(self, tree: ExtTree, number: int, start: int, end: int) -> list[str]:
        """Blocks [start, end) for an inode; what marks them as written, before they are read."""
        # fallocate marks its blocks as unwritten. Only after it the extents are known; each is then
        # replaced by itself as written.
        self._edit(tree, [f"fallocate <{number}> {start} {end - 1}"])
        fresh = [r for r in tree.runs(tree.inode(number)) if not r.written and r.logical >= start]
        marks: list[str] = []
        for run in fresh:
            place = f"{run.logical} {run.length} {run.physical}"
            marks += [f"goto_block {run.logical}", f"replace_node {place}"]
        return [f"extent_open <{number}>", *marks, "extent_close"] if marks else []

    def _edit(self, tree: ExtTree, commands: list[str]) -> None:
        assert self._debugfs is not None, "opened to look only"
        self.written.append(tree)
        # What was put off comes first: the new commands may be about the same inode.
        later = self._later.pop(tree, {}).values()
        self._debugfs(tree, [*(command for put_off in later for command in put_off), *commands])

    def _fill(self, tree: ExtTree, number: int, content: bytes) -> None:
        """Put `content` into the blocks that the file begins with."""
        padded = memoryview(content.ljust(_blocks(tree, len(content)) * tree.block_size, b"\0"))
        filled = 0
        for run in tree.runs(tree.inode(number)):
            start = run.logical * tree.block_size
            # A hole, or an extent that would read as zeros: the sum below does not come out then.
            if start >= len(padded) or start != filled or not run.written:
                break
            data = padded[start : start + run.length * tree.block_size]
            tree.device.write(run.physical * tree.block_size, data)
            filled += len(data)
        if filled != len(padded):
            raise ToolFailed("debugfs", 1, f"inode {number} has no room for {len(content)} bytes")


def ext_place(place: FoundInode) -> tuple[ExtTree, Inode]:
    """What only ext has: unfit() has been asked."""
    assert isinstance(place.tree, ExtTree), place
    return place.tree, place.tree.inode(place.inode.number)


def unfit(place: FoundInode) -> str:
    """Why a file cannot be rewritten in its blocks, in words after "it is"; "" if it can."""
    if not isinstance(place.tree, ExtTree):
        return "in a file system that only a kernel writes to here"
    tree, inode = ext_place(place)
    if inode.strangeness:
        return inode.strangeness
    if tree.content.ro_compat & _QUOTA:
        return f"in {_KEEPS_QUOTA}"
    if unknown := unknown_to_writers(tree.content):
        return f"in a file system with {' and '.join(unknown)}, into which growdisk does not write"
    try:
        runs = tree.runs(inode)
    except Unknown as unknown:
        return str(unknown)
    # All blocks of the content must be there and written; others beyond it may be as they are.
    end = 0
    for run in runs:
        if end < _blocks(tree, inode.size) and (run.logical != end or not run.written):
            return "sparse"
        end = run.logical + run.length
    return "sparse" if end < _blocks(tree, inode.size) else ""


def unfit_for_swap_file(tree: ExtTree, size: int) -> str:
    """Why debugfs cannot make a swap file there; "" if it can."""
    if tree.content.incompat & _INLINE_DATA:
        return "the guest's file system keeps small files inside inodes (inline_data)"
    if tree.content.ro_compat & _QUOTA:
        return f"the guest's root is {_KEEPS_QUOTA}"
    if unknown := unknown_to_writers(tree.content):
        return f"the guest's file system has {' and '.join(unknown)}"
    if size >= _LARGE and not tree.content.ro_compat & _LARGE_FILE:
        return "the guest's file system cannot have a file of 2 GiB"
    return ""


def _blocks(tree: ExtTree, size: int) -> int:
    return -(-size // tree.block_size)
