"""What steps need of a backend: the appliance (guestfs.py, uml.py), or host tools (direct.py).

Devices are named as a kernel with this one disk names them: /dev/sda1, /dev/sda.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import NamedTuple, Protocol

from growdisk.fast_dataclass import dataclass
from growdisk.guest_config.customize.changes import GuestEditor
from growdisk.guest_systems.look import GuestMount
from growdisk.host.command import last_lines


class GuestSystem(GuestEditor, Protocol):
    """A guest's files, and a place for a swap file among them."""

    def make_swap_file(self, path: str, size: int, uuid: str, page_size: int) -> None: ...


class Backend(Protocol):
    """`table_reader` names who, apart from us, reads the partition table."""

    table_reader: str

    def kernel_partitions(self) -> list[KernelPartition]:
        """The partitions as the other reader sees them, in the order of the numbers."""
        ...

    def reread(self) -> None:
        """Make the reader forget an older table."""
        ...

    def check_ext(self, device: str) -> FilesystemCheck:
        """e2fsck. Damage that it cannot mend is a value."""
        ...

    def resize_ext(self, device: str, size: int) -> str:
        """resize2fs, after check_ext(), to `size` bytes. Returns what it said."""
        ...

    def grow_filesystem(
        self, kind: str, device: str, device_id: int = 1, *, replay: bool = False
    ) -> str:
        """What is not ext, to the size of its device.

        `device_id` is btrfs's number of it. Returns what was said. `replay`: it was not unmounted
        in order, and a kernel has to mount it before its tools see all of it.
        """
        ...

    def judge(self, kind: str, device: str) -> None:
        """Have the file system checked by a tool that did not grow it.

        Raises filesystem-unsound: see judging.py.
        """
        ...

    def mounted_guest(
        self,
        root: str,
        mounts: Sequence[GuestMount] = (),
        *,
        writable: bool = True,
        meanwhile: Callable[[], None] | None = None,
    ) -> AbstractContextManager[GuestSystem]:
        """The guest's own files, mounted inside the block: `mounts`, the first of them `root` at /.

        Without `mounts`: `root`, and what its fstab mounts at /boot and the like. The files are
        whole again after the block. `meanwhile` is called when all is written, while others judge
        what was; it may read the disk.
        """
        ...

    def logical_volumes(self) -> list[str]:
        """/dev/GROUP/VOLUME of all that it can reach."""
        ...

    def sync(self) -> None:
        """After this, all that was written is in our engine, flushed."""
        ...

    def close(self) -> None:
        """End in order; nothing that was written is lost."""
        ...

    def kill(self) -> None:
        """End at once, also from another thread: a call that is going on fails.

        Harmless after close().
        """
        ...


# What the appliance answers, as values: importable where libguestfs is not installed.


class KernelPartition(NamedTuple):
    """A partition as the appliance's kernel, or sfdisk, has it; in bytes."""

    number: int
    start: int
    size: int


class CheckState(Enum):
    """What e2fsck found."""

    CLEAN = "clean"
    MENDED = "mended"
    DAMAGED = "damaged beyond automatic repair"


@dataclass(frozen=True)
class FilesystemCheck:
    """e2fsck's verdict and all that it printed."""

    state: CheckState
    output: str

    @property
    def last_words(self) -> str:
        return last_lines(self.output)


# Bits of e2fsck's exit status; 8: it could not do its work.
_MENDED, LEFT_ERRORS = 3, 4
# 12 to 15 are 8 and 4 together: it gave up on a file system that is damaged. 8 alone is a failure.
VERDICTS = (*range(8), *range(12, 16))


def verdict_of(status: int, output: str) -> FilesystemCheck:
    """Of e2fsck's exit status, one of VERDICTS. Mended and left at once is damaged."""
    if status & LEFT_ERRORS:
        return FilesystemCheck(CheckState.DAMAGED, output)
    return FilesystemCheck(CheckState.MENDED if status & _MENDED else CheckState.CLEAN, output)
