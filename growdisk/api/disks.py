"""What is on a disk, of an image at rest or a running guest; refusals that say more than the host.

Loads no more than that needs.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.api.disk_facts import facts_of_image
from growdisk.errors import ImageInUse, ImageNotReadable
from growdisk.planner.facts import Facts
from growdisk.qcow2.probe import ImageFormat
from growdisk.units import SizeSpec
from growdisk.workflow.run_places import is_served

if TYPE_CHECKING:
    from growdisk.api.live_request import LiveRequest

    Asked = str | PathLike[str] | LiveRequest

_LOST = "its server, or the connection to it, is lost (input/output error)"
_BROKEN = "a part of it cannot be read (input/output error)"


def inspect(
    target: Asked,
    image_format: ImageFormat | None = None,
    sector_size: int = 512,
    keys: tuple[bytes, ...] = (),
) -> Facts:
    """What is on a disk: its table, its partitions, and what is in them. Reads only.

    target: the image's path, or a LiveRequest for a guest that may be running. sector_size: in
    bytes, the disk's logical one. keys: passphrases of what is encrypted inside. Raises Refused
    (the image cannot be read, or is in use).
    """
    if isinstance(target, (str, PathLike)):
        with explained_refusals(Path(target), "show"):
            return facts_of_image(Path(target), image_format, sector_size, keys)
    from growdisk.api.live_inspect import inspected
    from growdisk.workflow.stopping import StopRequest

    with inspected(target, sector_size, StopRequest()) as found:
        if isinstance(found, Path):
            return facts_of_image(found, image_format, sector_size, keys)
        return found.facts


def image_of(request: LiveRequest) -> Path:
    """The image of a machine, running or not."""
    from growdisk.api.live_target import reach

    reached = reach(request)
    if isinstance(reached, Path):
        return reached
    reached.close()
    return reached.path


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
            hint = "see that its server runs, and run the same command again"
            raise ImageNotReadable(path, _LOST, hint) from error
        hint = "see what the host's kernel says (dmesg); copy what is there"
        raise ImageNotReadable(path, _BROKEN, hint) from error
