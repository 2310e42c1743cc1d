"""The second look, after QEMU's locks: refuses what anybody uses, locked or not."""

from __future__ import annotations

import os
import time
from pathlib import Path

from growdisk.block.holders import Use, is_open_here, use_of
from growdisk.errors import ImageError, ImageInUse

_MOMENT, _PAUSE = 0.5, 0.05  # seconds
# udev looks at a device whose size has changed; on a busy host that takes its time.
_UDEV, _UDEV_SECONDS = ("(udev-worker) (pid", "systemd-udevd (pid"), 60.0


def refuse_users(
    path: Path, *, claimed: bool = False, not_in_use: bool = False, written: bool = False
) -> None:
    """ImageInUse if anybody else uses it, use-unknown if not all users of a device can be seen.

    `not_in_use`: the user's word that there are none of the latter. `claimed`: this process has the
    device open exclusively already. `written`: the kernel knows of somebody who writes to the file.
    """
    use = _lasting_use(path, claimed=claimed)
    if use and use.release and not use.pids:
        # No program has it open: the host itself has built something on it.
        raise ImageInUse.named(
            "held-by-host",
            "{path} is in use",
            "{holder} uses it",
            "{hint}; then run the same command again",
            {"path": path, "holder": ", ".join(use.holders), "hint": use.release},
        )
    if use or (written and not is_open_here(path)):
        raise ImageInUse(
            path, holder=", ".join(use.holders) or "a process that cannot be seen from here"
        )
    if use.unseen and not not_in_use and path.is_block_device() and os.geteuid() != 0:
        # A device of the host, and not all who may use it can be seen.
        raise ImageError.named(
            "use-unknown",
            "cannot know whether {path} is in use",
            "an ordinary user cannot look at {unseen}",
            "run growdisk as root; or add --not-in-use if you are sure that nobody uses it",
            {"path": path, "unseen": use.unseen},
        )


def _lasting_use(path: Path, *, claimed: bool) -> Use:
    """What only looks at a device (udev, blkid, losetup) is gone in a moment; who stays uses it."""
    use, began = use_of(path, claimed=claimed), time.monotonic()
    # Only programs go away by themselves; a mount or a mapping stays.
    while use.pids and not use.release and time.monotonic() - began < _patience(use):
        time.sleep(_PAUSE)
        use = use_of(path, claimed=claimed)
    return use


def _patience(use: Use) -> float:
    return _UDEV_SECONDS if all(holder.startswith(_UDEV) for holder in use.holders) else _MOMENT
