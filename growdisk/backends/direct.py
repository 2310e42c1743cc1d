"""The `direct` backend: this machine's e2fsprogs and sfdisk, confined, on partitions as files.

FUSE shows them. No appliance and no root. A tool sees one partition and nothing else of the disk,
so that resize2fs cannot take what lies after it, and a hostile file system reaches no table. The
engine stays in this process: see block/fuse.py.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from growdisk.backends.direct_editor import DirectEditor
from growdisk.backends.ext_check import (
    LEFT_ERRORS,
    VERDICTS,
    CheckState,
    FilesystemCheck,
    verdict_of,
)
from growdisk.backends.judging import (
    CHECKERS,
    accepted_before,
    complaint,
    filesystem_unsound,
    refuse_damaged,
)
from growdisk.block.device import BlockDevice
from growdisk.block.fuse import FuseFolder
from growdisk.block.window import Window
from growdisk.errors import ToolFailed
from growdisk.fast_dataclass import replace
from growdisk.filesystems.content import UNMOUNTED_GROWTH, ExtContent
from growdisk.filesystems.ext_tree import ExtTree
from growdisk.filesystems.file_tree import Unknown
from growdisk.filesystems.identify import identify
from growdisk.guest_systems.file_systems import devices_of, tree_on
from growdisk.guest_systems.look import GuestMount, paths_of
from growdisk.guest_systems.paths import GuestPaths
from growdisk.host.command import COMMAND_LOG, CompletedCommand, kill_all, last_lines
from growdisk.host.fuse_mount import mounted
from growdisk.host.sandbox import DISK as SHOWN
from growdisk.host.sandbox import run_confined
from growdisk.partitions.table import FIRST_DISK
from growdisk.units import TiB

_DISK = f"/dev/{FIRST_DISK}"
_SECTOR = 512
_DEBUGFS_BANNER = r"(?s)debugfs \d.*|debugfs: .*"
# Seconds of the processor that a tool may take; they need a tenth of it.
_WORK, _WORK_A_TIB = 300, 60
_FULL_CHECK_BLOCKS = 64 << 20  # 256 GiB in blocks of 4 KiB: half a second
_NEWER = "grow it on a machine with a newer e2fsprogs, or from inside the guest"


class DirectTools:
    """Does what an appliance does, on a disk whose table is as it will stay.

    Nothing is started before it is needed.
    """

    table_reader = "sfdisk"

    def __init__(
        self, disk: BlockDevice, path: Path, writes: Callable[[], int] | None = None
    ) -> None:
        """`writes` counts all writes to the disk, by anybody.

        With it, tools share what they have read.
        """
        self._disk, self._path, self._writes = disk, path, writes
        self._devices: Mapping[str, _WatchedWindow] = {}
        self._table_seen: tuple[int | None, str] | None = None
        self._resources = ExitStack()
        self._owner = threading.get_ident()
        self._place: Path | None = None
        self._folder: FuseFolder | None = None

    @property
    def failure(self) -> Exception | None:
        """The first error of the image that a tool met."""
        return self._folder.failure if self._folder else None

    def kernel_partitions(self) -> dict[int, tuple[int, int]]:
        """The start and size of each partition by its number, as sfdisk sees them; in bytes."""
        found = json.loads(self._sfdisk())
        # The sandbox shows the disk as /disk, and _named() has made /dev/sda1 of sfdisk's /disk1.
        # Its units are 512 bytes: the planner gives a disk with other sectors to another backend.
        return {
            int(part["node"].removeprefix(_DISK)): (
                part["start"] * _SECTOR,
                part["size"] * _SECTOR,
            )
            for part in found["partitiontable"].get("partitions", ())  # none: not even a list
        }

    def _sfdisk(self) -> str:
        """What it says of the whole disk. It is asked once as long as nobody writes."""
        # Without a counter nobody knows whether the table is still the one that was seen.
        written = self._writes() if self._writes else None
        if written is None or self._table_seen is None or self._table_seen[0] != written:
            done = self._run(["sfdisk", "--json", SHOWN], _DISK, writable=False)
            self._table_seen = (written, done.stdout)
        return self._table_seen[1]

    def reread(self) -> None:
        """sfdisk remembers nothing, and partitions are shown again."""
        self._release()

    def check_ext(self, device: str) -> FilesystemCheck:
        force = ["-f"] if self._checks_in_full(device) else []
        argv = ["e2fsck", *force, "-p", SHOWN]
        done = self._run(argv, device, writable=True, accept=VERDICTS)
        return verdict_of(done.status, done.stdout + done.stderr)

    def resize_ext(self, device: str, size: int) -> None:
        # Without -f, resize2fs insists on a full check, which a huge one was spared.
        unchecked = [] if self._checks_in_full(device) else ["-f"]
        # With s it is sectors of 512 bytes; a bare number would be blocks of the file system.
        self._run(["resize2fs", *unchecked, SHOWN, f"{size // _SECTOR}s"], device, writable=True)

    def grow_filesystem(
        self, kind: str, device: str, device_id: int = 1, *, replay: bool = False
    ) -> None:
        # `replay` wants a kernel: the planner chooses a backend that has one.
        for command in UNMOUNTED_GROWTH[kind]:
            accept = accepted_before(command)
            done = self._run([*command, SHOWN], device, writable=True, accept=accept)
            refuse_damaged(command, done.status, done.stdout)

    def judge(self, kind: str, device: str) -> None:
        if kind.startswith("ext"):
            if self._checks_in_full(device) and self._finds_errors(device):
                # resize2fs leaves the checksums of an orphan_file stale; -p mends that much.
                # What it cannot mend the second look finds again.
                self.check_ext(device)
                if found := self._finds_errors(device):
                    raise filesystem_unsound(device, judge="e2fsck", found=found)
            return
        # Which status means what differs from judge to judge: complaint() knows.
        for judge in CHECKERS.get(kind, ()):
            done = self._run([*judge, SHOWN], device, writable=False, accept=range(256))
            if found := complaint(kind, done.status, done.stdout + done.stderr):
                raise filesystem_unsound(device, judge=judge[0], found=found)

    def _finds_errors(self, device: str, meanwhile: Callable[[], None] | None = None) -> str:
        argv = ["e2fsck", "-f", "-n", SHOWN]
        done = self._run(argv, device, writable=False, accept=VERDICTS, meanwhile=meanwhile)
        # its banner goes to stderr
        return last_lines(done.stderr + done.stdout) if done.status else ""

    @contextmanager
    def mounted_guest(
        self,
        root: str,
        mounts: Sequence[GuestMount] = (),
        *,
        writable: bool = True,
        meanwhile: Callable[[], None] | None = None,
    ) -> Iterator[DirectEditor]:
        """As the appliance's; `meanwhile` is called while e2fsck judges what was written."""
        try:
            self._device(root)
            mounts = mounts or (GuestMount("/", root),)
            # For the replay alone: what e2fsck changes below them makes them stale.
            for tree in self._paths(mounts).trees:
                if isinstance(tree, ExtTree):
                    self._replay(tree)
            guest = DirectEditor(self._paths(mounts), self._debugfs if writable else None)
            yield guest
            # What the editor has put off (sizes and times) is carried out before anybody judges.
            guest.flush()
        except Unknown as unknown:
            hint = "use --backend guestfs"
            raise ToolFailed("reading the guest's files", 1, str(unknown), hint) from unknown
        # debugfs knows little: what it has written to is judged by e2fsck
        written = dict.fromkeys(map(self._device_of, guest.written))
        for device in filter(self._checks_in_full, written):
            if found := self._finds_errors(device, meanwhile):
                raise ToolFailed("e2fsck", LEFT_ERRORS, f"after the repair it finds: {found}")
            meanwhile = None  # it is done
        if meanwhile:
            meanwhile()
        self.sync()

    def _paths(self, mounts: Sequence[GuestMount]) -> GuestPaths:
        """Through readers that see what was just written."""
        trees = {}
        for node in {mount.node: None for mount in mounts}:
            if (tree := tree_on(self._device(node))) is None:
                raise Unknown(f"there are no files in {node}")
            trees[node] = tree
        return paths_of(mounts, trees)

    def logical_volumes(self) -> list[str]:
        return []

    def sync(self) -> None:
        self._disk.flush()

    def close(self) -> None:
        self.sync()
        self._release()

    def kill(self) -> None:
        if (place := self._place) is not None:
            # the tools; not fusermount3, which names the folder and must clean up
            kill_all(f"{place}/")
        if threading.get_ident() == self._owner:
            self._release()

    def _checks_in_full(self, device: str) -> bool:
        """Whether e2fsck -f, which reads every block's bit, is worth its time."""
        content = identify(self._device(device))
        # Of a huge one e2fsck -p goes by the superblock. What is not known as ext goes to e2fsck in
        # full: it says best what is wrong.
        is_huge = isinstance(content, ExtContent) and content.block_count > _FULL_CHECK_BLOCKS
        return not is_huge

    def _replay(self, tree: ExtTree) -> None:
        """Our reader knows nothing of what only a journal knows."""
        if tree.content.needs_recovery or not tree.content.clean:
            checked = self.check_ext(self._device_of(tree))
            if checked.state is CheckState.DAMAGED:
                raise ToolFailed("e2fsck", LEFT_ERRORS, checked.last_words)

    def _debugfs(self, tree: ExtTree, commands: list[str]) -> None:
        script = "".join(f"{command}\n" for command in commands)
        COMMAND_LOG.debug("# for debugfs: %s", "; ".join(commands))
        done = self._run(
            ["debugfs", "-w", "-f", "-", SHOWN], self._device_of(tree), writable=True, input=script
        )
        # A command that fails leaves debugfs's status at 0: only stderr shows it.
        complaints = [
            line
            for line in done.stderr.splitlines()
            if line and not re.fullmatch(_DEBUGFS_BANNER, line)
        ]
        if complaints:
            raise ToolFailed("debugfs", done.status, last_lines("\n".join(complaints)))

    def _run(
        self,
        argv: list[str],
        device: str,
        *,
        writable: bool,
        accept: Collection[int] = (0,),
        input: str | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> CompletedCommand:
        name, size = _name(device), self._device(device).size
        # All devices are mounted at once, in one folder, at the first tool; reread() drops them.
        if self._place is None:
            shown = {each: window.device for each, window in self._devices.items()}
            self._place, self._folder = self._resources.enter_context(
                mounted(shown, writes=self._writes)
            )
        work = _WORK + _WORK_A_TIB * size // TiB
        try:
            done = run_confined(
                argv,
                self._place / name,
                writable=writable,
                accept=accept,
                input=input,
                work=work,
                meanwhile=meanwhile,
            )
        except ToolFailed as error:
            hint = _NEWER if "unsupported feature" in error.detail else error.hint
            detail = _named(error.detail, device)
            raise ToolFailed(error.tool, error.status, detail, hint) from error
        # By the user's names, here as above.
        return replace(done, stdout=_named(done.stdout, device), stderr=_named(done.stderr, device))

    def _device(self, device: str) -> BlockDevice:
        if not self._devices:
            devices = devices_of(self._disk, self._path)
            self._devices = {
                name: _WatchedWindow(device, partial(self._wrote, name))
                for name, device in devices.items()
            }
        name = _name(device)
        if name not in self._devices:
            raise ToolFailed(f"looking for {name}", 1, "there is no such partition")
        return self._devices[name]

    def _wrote(self, name: str, offset: int, length: int) -> None:
        # The kernel keeps pages of what it has read by FUSE: stale where we write past it.
        if self._folder is not None:
            self._folder.changed(name, offset, length)

    def _device_of(self, tree: ExtTree) -> str:
        return next(f"/dev/{name}" for name, d in self._devices.items() if d is tree.device)

    def _release(self) -> None:
        # Windows go too: the table may change before the next tool asks for them.
        self._resources.close()
        self._place, self._folder, self._devices = None, None, {}


class _WatchedWindow(Window):
    """A device that reports what this process writes to it, which the tools do not see."""

    def __init__(self, device: BlockDevice, wrote: Callable[[int, int], None]) -> None:
        super().__init__(device, 0, device.size)
        self.device, self._wrote = device, wrote

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        super().write(offset, data)
        self._wrote(offset, len(data))

    def write_zeros(self, offset: int, length: int) -> None:
        super().write_zeros(offset, length)
        self._wrote(offset, length)


def _named(text: str, device: str) -> str:
    """`text` with the user's name of the device that a tool has worked on."""
    return text.replace(SHOWN, device)


def _name(device: str) -> str:
    return device.removeprefix("/dev/")
