"""Errors of a run as a whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from growdisk.errors import GrowdiskError, NeedsUser, OperationFailed, Refused, shell_word
from growdisk.fast_dataclass import dataclass


def step_failed(step: str, reason: str, hint: str) -> OperationFailed:
    """And everything begun was restored."""
    return OperationFailed.because(
        "step-failed", "step {step} failed; everything is back as it was", reason, hint, step=step
    )


@dataclass(eq=False)
class StoppedWithoutSnapshots(NeedsUser):
    """A step failed, or was stopped, in a run that takes no snapshots: it stays where it is."""

    ID = "stopped-without-way-back"
    WHAT = "step {step} failed, and without snapshots there is no way back"
    WHY = "{reason}"
    DO = "fix the cause, then go on with: growdisk resume IMAGE (or restore a backup)"
    step: str
    reason: str


@dataclass(eq=False)
class NothingToRestore(NeedsUser):
    WHAT = "step {step} cannot be undone"
    WHY = "the run takes no snapshots (--snapshots none)"
    DO = "go on with: growdisk resume IMAGE, or restore a backup"
    step: str


@dataclass(eq=False)
class Interrupted(OperationFailed):
    """Raised at a safe point of a run that was asked to stop; ends as stopped-and-restored."""

    WHAT = "stopped by {signal}"
    signal: str


def commit_failed(reason: str) -> NeedsUser:
    """All steps are done, but the result could not be made final."""
    return NeedsUser.named(
        "settle-failed",
        "all steps are done, but the result could not be made final in the image",
        "{reason}",
        "fix the cause (often a full disk on the host), then run: growdisk resume IMAGE",
        {"reason": reason},
    )


def run_stands_in_the_way(image: Path, state: str) -> Refused:
    unfinished = state == "unfinished"
    return Refused.named(
        "run-stands-in-the-way",
        "{image} still has {_what}",
        "{_why}",
        "growdisk {_first} {image}, or growdisk rollback {image}{_if}; growdisk status {image} "
        "says more",
        {
            "image": image,
            "state": state,
            "_first": "resume" if unfinished else "commit",
            "_if": " (if it takes snapshots)" if unfinished else "",
            "_what": "an unfinished run" if unfinished else "the snapshots of its last run",
            "_why": "it was cut short" if unfinished else "it was done with --keep-snapshots",
        },
    )


def no_such_run(image: Path, verb: str, reason: str = "") -> Refused:
    """`reason` if one is recorded, and is of no use for that."""
    next_time = "; next time: growdisk expand --keep-snapshots" if verb == "roll back" else ""
    status = f"growdisk status {shell_word(image)} says how it stands"
    listing = f"growdisk list {shell_word(image.parent)} says which disks there have a run"
    return Refused.named(
        "no-such-run",
        "cannot {verb} {image}",
        "{reason}",
        "{_where}{_next_time}",
        {
            "image": image,
            "verb": verb,
            "reason": reason or "no run of growdisk is recorded beside it",
            "_where": status if reason or image.is_block_device() else listing,
            "_next_time": next_time,
        },
    )


def run_not_recorded(
    image: Path,
    folder: Path,
    reason: str,
    hint: str = "make that folder writable and give it some space, then run the same command again",
) -> Refused:
    return Refused.named(
        "run-not-recorded",
        "cannot begin a run on {image}",
        "its journal lies in {folder}, which cannot be written: {reason}",
        "{hint}",
        {"image": image, "folder": folder, "reason": reason, "hint": hint},
    )


WITHHELD = (OSError, MemoryError)
"""What Python raises if the host does not give what every program needs, at any place."""


def reason_of(error: Exception) -> str:
    """In words, also of an error that has none (MemoryError)."""
    short = host_falls_short(error)
    return short.why if short else str(error) or type(error).__name__


@contextmanager
def before_anything() -> Iterator[None]:
    """What the host does not give here is a refusal, since nothing has been touched."""
    try:
        yield
    except (*WITHHELD, RuntimeError) as error:
        if short := host_falls_short(error, Refused):
            raise short from error
        raise


def host_falls_short(
    error: BaseException, kind: type[GrowdiskError] = OperationFailed
) -> GrowdiskError | None:
    """What it means if the host gives no memory, process, thread, file or /proc; else None.

    `kind` is Refused as long as nothing has been touched.
    """
    number, name = getattr(error, "errno", 0), str(getattr(error, "filename", ""))
    if name.startswith("/proc/") and not os.path.exists("/proc/self"):  # noqa: PTH110 (raises not)
        return kind.named(
            "proc-missing",
            "growdisk cannot go on",
            "/proc is not mounted here, which says what uses an image",
            "mount -t proc proc /proc; then run the same command again",
            {},
        )
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return kind.named(
            "out-of-memory",
            "growdisk cannot go on",
            "the host gives it no more memory",
            "raise the limit (ulimit -v, MemoryMax=), or end other programs; then run the same "
            "command again",
            {},
        )
    if number in (errno.EMFILE, errno.ENFILE):
        return kind.named(
            "too-many-open-files",
            "growdisk cannot go on",
            "the host lets it open no further file",
            "raise the limit (ulimit -n, LimitNOFILE=; sysctl fs.file-max), or end other programs; "
            "then run the same command again",
            {},
        )
    # Python has no class of its own for a thread.
    if number != errno.EAGAIN and "start new thread" not in str(error):
        return None
    return kind.named(
        "too-many-processes",
        "growdisk cannot go on",
        "the host lets it start no further process or thread",
        "raise the limit (ulimit -u, TasksMax=, --pids-limit), or end others; then run the same "
        "command again",
        {},
    )
