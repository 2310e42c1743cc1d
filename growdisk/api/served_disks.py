"""Disks of other hosts: reached by address, shown as a file of this host, used exclusively.

Everything else of growdisk works on that file. The run lies in the state folder of this host, named
after the address.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from growdisk.block.address import Address, address_of
from growdisk.block.identity import identity_of_served
from growdisk.block.locks import flock_holder
from growdisk.block.nbd_handshake import Export, NotOffered, query_export
from growdisk.durable import open_locked_folder
from growdisk.errors import Refused, bad_value
from growdisk.qcow2.probe import ImageFormat, probe_format
from growdisk.storage.served import (
    DiskNotReached,
    far_server,
    held_at_server,
    shown_as_file,
    unmount_left,
)
from growdisk.workflow.run_places import served_disk

_ANSWER = 10.0  # seconds that a server has to answer
# a second client is given so long at least, and so many times what the first one took
_OTHERS, _TIMES = 1.0, 10
_TRIES, _PAUSE = 5, 0.3  # a server may take a moment to see that the one who asked has gone
_CLAIM_SECONDS = 45.0  # a growdisk that was killed leaves a connection that ends within that
_HOW = (
    "qemu-nbd --persistent --format=raw without --shared does, and holds QEMU's lock on the "
    "image as well"
)


def server_unfit(address: Address, reason: str, hint: str) -> Refused:
    """The server can be reached, but growdisk's promises could not be kept there."""
    return Refused.because(
        "server-unfit", "cannot work on {address}", reason, hint, address=str(address)
    )


def served_path(uri: str | os.PathLike[str]) -> Path | None:
    """The disk's file while growdisk works on it; None if this is not an address, or is a file."""
    address = address_of(os.fspath(uri))
    if address is None or Path(uri).exists():
        return None
    return served_disk(identity_of_served(address))


@contextmanager
def served(
    uri: str | os.PathLike[str], image_format: ImageFormat | None = None, *, writable: bool = True
) -> Iterator[Path]:
    """The disk at nbd://, nbd+unix:// or ssh:// as a raw image, until the block is left.

    Inspect, plan, expand, resume, rollback and commit take its path. One connection serves all of
    them.

    image_format: for ssh, the format of the file there (raw if left out). `writable` False is
    enough for inspect. Raises UsageError (no such address), DiskNotReached, held-at-server,
    server-unfit.
    """
    address = address_of(os.fspath(uri))
    if address is None:
        problem = f"'{uri}' is not an address of a disk"
        raise bad_value(problem, "", str(uri), "write nbd://, nbd+unix:// or ssh://")
    if address.scheme != "ssh" and image_format == "qcow2":
        reason = "a server gives out a disk of a fixed size, in which a qcow2 image could not grow"
        raise server_unfit(address, reason, hint=_as_qcow2(address))
    place = served_disk(identity_of_served(address))
    with ExitStack() as stack:
        claim = stack.enter_context(_claimed(address, place))
        server = address
        if address.scheme == "ssh":
            far = far_server(address, image_format or "raw", writable=writable, claim=claim)
            server = stack.enter_context(far)
        # How long this server takes to answer measures how long a second client is to be given.
        started = time.monotonic()
        offer = _asked(address, server)
        _refuse_unfit(address, offer, writable=writable)
        patience = max(_OTHERS, _TIMES * (time.monotonic() - started))
        _show(stack, address, server, place, writable=writable, claim=claim)
        if address.scheme != "ssh":
            # Only now, as its client, can it be seen whether the server takes a second one.
            _refuse_shared(address, server, patience, offer)
        if image_format is None and probe_format(place) == "qcow2":
            reason = "what its server gives out is a qcow2 image"
            raise server_unfit(address, reason, hint=_as_qcow2(address))
        yield place


def _as_qcow2(address: Address) -> str:
    if address.scheme == "ssh":
        return "say -f qcow2, which has the image opened on its host"
    return "let its server open the image (qemu-nbd --format=qcow2), and leave -f out"


@contextmanager
def _claimed(address: Address, place: Path) -> Iterator[int]:
    """A descriptor whose lock keeps other growdisks of this host off the disk; held-at-server."""
    # The lock is on the folder: the file itself is covered as soon as it is mounted on.
    place.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    claim = _locked(address, place.parent)
    try:
        unmount_left(place)
        # FUSE mounts one file only on a file that is there.
        place.touch(mode=0o600)
        yield claim
        unmount_left(place)
    finally:
        with suppress(OSError):  # not empty: the daemon was killed, and the next one clears up
            place.unlink(missing_ok=True)
            place.parent.rmdir()
        os.close(claim)


def _locked(address: Address, folder: Path) -> int:
    end = time.monotonic() + _CLAIM_SECONDS
    while True:
        try:
            return open_locked_folder(folder, partial(Path.mkdir, mode=0o700, exist_ok=True))
        except BlockingIOError:
            # the one who took it: None when only its connection is left
            holder = flock_holder(folder)
            if holder is not None or time.monotonic() > end:
                who = "the connection of a growdisk that was killed"
                if holder:
                    who = f"another growdisk (pid {holder})"
                raise held_at_server(str(address), holder=f"{who} has it") from None
            time.sleep(_PAUSE)


def _asked(address: Address, server: Address) -> Export:
    try:
        return query_export(server, _ANSWER)
    except TimeoutError as error:
        reason = (
            f"its server does not answer within {_ANSWER:.0f} s; it may have given the disk "
            "to another client"
        )
        raise DiskNotReached(str(address), reason, "end that client's use of it first") from error
    except NotOffered as error:
        hint = "check the name of the export: qemu-nbd --list"
        raise DiskNotReached(str(address), str(error), hint) from error
    except OSError as error:
        raise DiskNotReached(str(address), error.strerror or str(error)) from error


def _refuse_unfit(address: Address, offer: Export, *, writable: bool) -> None:
    """Raise server-unfit if what the server offers is not enough for the work."""
    if writable and offer.read_only:
        reason, hint = "its server gives it read-only", "serve it without --read-only"
        raise server_unfit(address, reason, hint)
    if writable and not offer.can_flush:
        reason = "its server cannot flush, so that nothing is sure to survive a power cut there"
        raise server_unfit(address, reason, hint=f"serve it with another program: {_HOW}")


def _show(
    stack: ExitStack, address: Address, server: Address, place: Path, *, writable: bool, claim: int
) -> None:
    for rest in reversed(range(_TRIES)):
        try:
            stack.enter_context(
                shown_as_file(address, server, place, writable=writable, claim=claim)
            )
        except DiskNotReached:
            if not rest:
                raise
            time.sleep(_PAUSE)
        else:
            return


def _refuse_shared(address: Address, server: Address, patience: float, offer: Export) -> None:
    """server-unfit, if a second client is given the disk while we have it."""
    try:
        query_export(server, patience)
    except TimeoutError:
        # A server that takes one client at a time lets others wait. One that says itself that it
        # is fit for several may just be slow.
        if not offer.for_several:
            return
    except (OSError, NotOffered):
        # Or it turns them away.
        return
    reason = "its server gives it to several clients at a time, so that a guest may have it as well"
    raise server_unfit(address, reason, f"use a server that gives it to one client: {_HOW}")
