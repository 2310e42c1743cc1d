"""A process that dies at its n-th change of any file, as by SIGKILL: no flush, no clean-up.

All that growdisk changes on the host goes through these calls of `os`; the child counts them and is
gone before the n-th. What it had written before stays, as it does when a process is killed.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Collection

from growdisk import durable
from growdisk.block import raw

_CHANGES = (
    "pwrite", "write", "copy_file_range", "ftruncate", "link", "replace", "unlink", "mkdir",
    "posix_fallocate", "utime", "rename", "rmdir",
)  # fmt: skip
_FREE = ("replace", "unlink", "utime", "rename", "rmdir")
#: Those that a full disk, a quota or a limit may refuse.
TAKING_ROOM = tuple(name for name in _CHANGES if name not in _FREE)
DIED, FAILED = 77, 78


def run_dying(action: Callable[[], object], changes: int | None) -> bool:
    """Run `action` in a child that dies before its change number `changes` (None: never).

    True if it died of it. Raises AssertionError if the action failed by itself.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _live(action, changes)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, DIED), f"the child ended with {status}"
    return status == DIED


def _live(action: Callable[[], object], changes: int | None) -> None:
    try:
        if changes is not None:
            _arm(changes)
        action()
    except BaseException:
        traceback.print_exc()
        os._exit(FAILED)
    os._exit(0)


def _arm(changes: int) -> None:
    before_change(changes, lambda: os._exit(DIED))


def before_change(
    changes: int, action: Callable[[], object], names: Collection[str] = _CHANGES
) -> None:
    """Call `action` once in this process, right before its change number `changes`.

    What `action` itself changes does not count. `names`: the calls of `os` that count; fallocate()
    always does.
    """
    left = changes

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def counting(*arguments: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if left == -1:
                action()
            return call(*arguments, **options)

        return counting

    for name in names:
        setattr(os, name, counted(getattr(os, name)))
    for module in (raw, durable):
        module.fallocate = counted(module.fallocate)  # type: ignore[attr-defined]
