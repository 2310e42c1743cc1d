"""The second look, after QEMU's locks: refuses a device or a file that anybody uses, whether he locks it or not."""

from __future__ import annotations

import os
from pathlib import Path

from growdisk.block.holders import is_open_here, use_of
from growdisk.errors import ImageInUse, UseUnknown
from growdisk.fast_dataclass import dataclass

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import ClassVar


@dataclass(eq=False)
class HeldByHost(ImageInUse):
    """Not a program has it open: the host itself has built something on it."""

    WHY: ClassVar[str] = "{holder} uses it"
    DO: ClassVar[str] = "{hint}; then run the same command again"
    hint: str


def refuse_users(path: Path, *, claimed: bool = False, not_in_use: bool = False, written: bool = False) -> None:
    """ImageInUse if anybody else uses it. UseUnknown for a device of which not all users can be seen, unless
    `not_in_use` gives the user's word for those.

    `claimed`: this process has the device open exclusively already. `written`: the kernel knows of somebody who writes
    to the file.
    """
    use = use_of(path, claimed=claimed)
    if use and use.release and not use.pids:
        raise HeldByHost(path, ", ".join(use.holders), hint=use.release)
    if use or (written and not is_open_here(path)):
        raise ImageInUse(path, holder=", ".join(use.holders) or "a process that cannot be seen from here")
    if use.unseen and not not_in_use and path.is_block_device() and os.geteuid() != 0:
        raise UseUnknown(path, unseen=use.unseen)
