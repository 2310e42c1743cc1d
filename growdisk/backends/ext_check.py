"""What e2fsck says of a file system: a value, for all that call it."""

from __future__ import annotations

from enum import Enum

from growdisk.fast_dataclass import dataclass
from growdisk.host.command import last_lines


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
