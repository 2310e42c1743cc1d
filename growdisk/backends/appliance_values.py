"""What the appliance answers, as values: importable where libguestfs is not installed."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from growdisk.fast_dataclass import dataclass
from growdisk.host.command import last_lines


class KernelPartition(NamedTuple):
    """A partition as the appliance's kernel has it, in bytes."""

    name: str
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
