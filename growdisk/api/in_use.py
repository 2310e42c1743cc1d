"""Refusals with more help: the running guest of an image in use, why a disk is unreadable."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from growdisk.errors import ImageInUse, ImageNotReadable
from growdisk.units import SizeSpec
from growdisk.workflow.run_places import is_served

_LOST = "its server, or the connection to it, is lost (input/output error)"
_BROKEN = "a part of it cannot be read (input/output error)"


@contextmanager
def explained_refusals(path: Path, verb: str, size: SizeSpec | None = None) -> Iterator[None]:
    """If the image is in use, report the command that grows it through its running guest.

    Otherwise as unreadable_refused().
    """
    try:
        with unreadable_refused(path):
            yield
    except ImageInUse as error:
        from growdisk.live.local_guests import hint_for

        if hint := hint_for(path, verb, size):
            # The holder is a running guest: it can be grown while it runs.
            raise ImageInUse.named(
                "guest-runs",
                "{path} is in use",
                "{holder} has it open",
                "{hint}",
                {"path": error.path, "holder": error.holder, "hint": hint},
            ) from error
        raise


@contextmanager
def unreadable_refused(path: Path) -> Iterator[None]:
    """ImageNotReadable, if the host cannot read a disk of which nothing has been touched yet."""
    try:
        yield
    except OSError as error:
        # ENOTCONN is FUSE's word for a daemon that has died: that of a served disk.
        if error.errno not in (errno.EIO, errno.ENOTCONN):
            raise
        if is_served(path):
            raise ImageNotReadable(
                path, _LOST, "see that its server runs, and run the same command again"
            ) from error
        raise ImageNotReadable(
            path, _BROKEN, "see what the host's kernel says (dmesg); copy what is there"
        ) from error
