"""Judges of a file system that was grown: never who grew it.

Growth that they do not accept has failed.

What is asked:
- ext: e2fsck -fn, up to 256 GiB as mkfs makes them (half a second); beyond, a mount alone.
- in a kernel, always: a mount, read only, of what could be mounted before (a few hundredths of a
  second).
- XFS: xfs_repair -n, btrfs: btrfs check --readonly, both up to 16 GiB; beyond, the mount alone,
  which the kernel has grown it by. NTFS: ntfsresize's own check of all its clusters, F2FS:
  fsck.f2fs.
- by `direct`, if there is a doubt (filesystems/ext_features.py, doubt()): a user-mode kernel
  mounts it as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from growdisk.errors import OperationFailed, ToolFailed
from growdisk.host.command import last_lines

CHECKERS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "ntfs": (("ntfsresize", "--info", "--force", "--no-progress-bar"),),
    "f2fs": (("fsck.f2fs", "--dry-run"),),
    "xfs": (("xfs_repair", "-n"),),
    "btrfs": (("btrfs", "check", "--readonly"),),
}
# Kinds whose checker may end with 0 whatever it finds: these words show it.
_COMPLAINTS = {"f2fs": ("[Fail]", "[ASSERT]")}


def filesystem_unsound(device: str, judge: str, found: str) -> OperationFailed:
    """A grown file system that a foreign judge does not let pass: it never becomes a success."""
    return OperationFailed.named(
        "filesystem-unsound",
        "the grown file system on {device} is not sound",
        '{judge} looked at it afterwards, and its verdict is: "{found}"',
        "grow it in smaller steps, or from inside the guest; please report what it is (growdisk "
        "show --json; of ext dumpe2fs -h, of F2FS dump.f2fs -d 1)",
        {"device": device, "judge": judge, "found": found},
    )


def complaint(kind: str, status: int, output: str) -> str:
    """What a judge found; "" for nothing. fsck.f2fs may end with 0 all the same."""
    bad = _complaints(kind, output)
    return last_lines("\n".join(bad) or output) or "it gave no reason" if status or bad else ""


def _complaints(kind: str, output: str) -> list[str]:
    words = _COMPLAINTS.get(kind, ())
    return [line for line in output.splitlines() if any(word in line for word in words)]


# mkfs.f2fs with large sections or zones (-s, -z) leaves a count wrong, until a kernel writes to the
# file system. fsck.f2fs ends with 1 when it has put something right.
_CORRECTED, _COUNT = 1, "free segment_count"


def accepted_before(command: Sequence[str]) -> Collection[int]:
    """The statuses with which a check before the growth may end; see refuse_damaged()."""
    return (0, _CORRECTED) if command[0] == "fsck.f2fs" else (0,)


def refuse_damaged(command: Sequence[str], status: int, output: str) -> None:
    """ToolFailed if it has found more than a wrong count."""
    found = _complaints("f2fs", output)
    if status and (not found or "[FIX]" in output or any(_COUNT not in line for line in found)):
        raise ToolFailed(command[0], status, last_lines(output))
