"""What running guests report of their file systems, each within a bounded time.

A guest that hangs becomes a line. Each is asked in a thread of its own, because most of the time is
waiting. A thread that does not return is abandoned: it holds nothing but a connection.
The agent answers (guest-get-fsinfo), and no command runs in the guest. Its words are not to be
trusted: numbers out of bounds are left out. Agents older than QEMU 2.12 give no sizes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread

from growdisk.api.fleet.values import DiskEntry, FileSystemUse
from growdisk.api.live_request import LiveRequest
from growdisk.api.live_target import reach
from growdisk.errors import GrowdiskError
from growdisk.fast_dataclass import dataclass, replace
from growdisk.host.json_codec import NotThatValue, converted
from growdisk.live.guest_shell import AgentCall, AgentError

_MOST = 1 << 70  # bytes
_MOST_MOUNTS = 1000
_LONGEST = 4096  # characters of a path
_ANSWER_SECONDS = 8.0
_PSEUDO = ("squashfs", "iso9660", "udf", "tmpfs", "overlay", "CDFS", "UDF")
_AT_ONCE = 16
SECONDS = 15.0
_DISK = r"(?:/dev/)?(?P<bus>[svh]d|xvd)(?P<letter>[a-z]+)\d*"


@dataclass(frozen=True)
class GuestDiskAddress:
    """The disk of a file system: its device in the guest ("/dev/vda1"), its serial number."""

    dev: str = ""
    serial: str = ""


@dataclass(frozen=True)
class GuestFileSystem:
    """Sizes in bytes.

    `used` counts what root keeps for itself as used no more than the guest's df does.
    """

    mount_point: str
    kind: str
    size: int
    used: int
    disks: tuple[GuestDiskAddress, ...] = ()


class FsInfoMissing(Exception):
    """The agent does not answer, or not so; the message says why."""


GuestAnswer = tuple[GuestFileSystem, ...]


def ask_guests(entries: Sequence[DiskEntry], uri: str | None) -> dict[int, GuestAnswer | str]:
    """By the place in `entries`: what the guest said, or why it did not.

    Those of one machine are asked once.
    """
    # By (machine, "") or ("", image): the disks of one machine are one question.
    questions: dict[tuple[str, str], list[int]] = {}
    for number, entry in enumerate(entries):
        questions.setdefault((entry.domain, "" if entry.domain else entry.path), []).append(number)
    answers: SimpleQueue[tuple[tuple[str, str], GuestAnswer | str]] = SimpleQueue()
    turns = Semaphore(_AT_ONCE)

    def ask(domain: str, path: str) -> None:
        request = LiveRequest(Path(path) if path else None, domain=domain, uri=uri)
        with turns:
            answers.put(((domain, path), _answer_of(request)))

    for question in questions:
        Thread(target=ask, args=question, name="guest", daemon=True).start()
    # So many get an answer at a time: the rest waits for a turn (rounded up).
    until = time.monotonic() + SECONDS * -(-len(questions) // _AT_ONCE)
    answers_by_guest: dict[tuple[str, str], GuestAnswer | str] = {}
    with suppress(Empty):
        while len(answers_by_guest) < len(questions):
            # Never 0: what is there already is taken even if the time is up.
            key, answer = answers.get(timeout=max(until - time.monotonic(), 0.01))
            answers_by_guest[key] = answer
    silent = f"its guest did not answer within {SECONDS:.0f} s"
    return {
        number: answers_by_guest.get(key, silent)
        for key, numbers in questions.items()
        for number in numbers
    }


def _answer_of(request: LiveRequest) -> GuestAnswer | str:
    try:
        if not request.domain:
            return _by_monitor(request)
        from growdisk.live.libvirt_domain import Domain

        with closing(Domain.find(request.domain, request.uri)) as domain:
            return file_systems_in_guest(domain.agent_call)
    except GrowdiskError as error:
        return str(error)
    except FsInfoMissing as error:
        return f"its agent: {error}"
    except Exception as error:  # a machine that goes while it is asked
        return str(error)


def _by_monitor(request: LiveRequest) -> GuestAnswer | str:
    reached = reach(request)
    if isinstance(reached, Path):
        return "another program than QEMU has it open"
    with closing(reached):
        call, close = reached.open_channel()
        try:
            file_systems = file_systems_in_guest(call)
        finally:
            close()
        if len(reached.machine.disks()) == 1:
            return file_systems
        serial = reached.disk.serial
        own = tuple(
            file_system
            for file_system in file_systems
            # A guest may put the maker and model before it.
            if serial and any(disk.serial.endswith(serial) for disk in file_system.disks)
        )
        return own or "its guest has several disks, and does not say which of them this one is"


def with_guest_usage(entry: DiskEntry, reported: GuestAnswer | str, alone: bool) -> DiskEntry:
    """The entry with what its guest said. `alone`: the machine has no other disk."""
    if isinstance(reported, str):
        return replace(entry, note=reported)
    own = [file_system for file_system in reported if alone or _is_on(file_system, entry.target)]
    if not own:
        return replace(entry, note="its guest names no file system on it")
    # A file system on several disks may be larger than this one. One on this disk alone may not:
    # then the letters have misled us.
    on_this = [one for one in own if alone or len(one.disks) == 1]
    if any(one.size > (entry.virtual_size or one.size) for one in on_this):
        return replace(entry, note="its guest tells of a file system that is larger than the disk")
    found = tuple(
        FileSystemUse(one.mount_point, one.kind, one.size, one.used, "agent") for one in own
    )
    root = next((one for one in found if one.name == "/"), None)
    return replace(entry, file_systems=found, root=root or max(found, key=lambda one: one.size))


def _is_on(file_system: GuestFileSystem, target: str) -> bool:
    """By the letter that host and guest count the disks of a bus with: vdb, sdb."""
    return _place(target) in {_place(disk.dev) for disk in file_system.disks} - {None}


def _place(name: str) -> tuple[str, str] | None:
    """Of vdb1: ("vd", "b"). A guest has IDE disks among those of SCSI."""
    match = re.fullmatch(_DISK, name)
    return (match["bus"].replace("hd", "sd"), match["letter"]) if match else None


# --- the agent's guest-get-fsinfo -----------------------------------------------------------------


def file_systems_in_guest(call: AgentCall) -> tuple[GuestFileSystem, ...]:
    """FsInfoMissing if it cannot be asked."""
    try:
        answer = call("guest-get-fsinfo", {}, _ANSWER_SECONDS)
    except (AgentError, OSError) as error:
        raise FsInfoMissing(str(error) or "it does not answer") from error
    if not isinstance(answer, list) or len(answer) > _MOST_MOUNTS:
        raise FsInfoMissing("what it says of its file systems cannot be true")
    found = [_known(each) for each in answer]
    return tuple({one.mount_point: one for one in found if one is not None}.values())


def _known(entry: object) -> GuestFileSystem | None:
    if not isinstance(entry, dict):
        return None
    size, used = entry.get("total-bytes"), entry.get("used-bytes")
    # No size: an old agent, or a file system that has none. More used than there is: a lie.
    if not (
        isinstance(size, int) and isinstance(used, int) and 0 < size < _MOST and 0 <= used <= size
    ):
        return None
    mount_point, kind = str(entry.get("mountpoint", "")), str(entry.get("type", ""))
    if kind in _PSEUDO or len(mount_point) > _LONGEST or len(kind) > _LONGEST:
        return None
    return GuestFileSystem(mount_point, kind, size, used, _disks(entry.get("disk")))


def _disks(answer: object) -> tuple[GuestDiskAddress, ...]:
    """Empty if it says nothing, or nothing that can be understood."""
    try:
        return converted(answer or [], tuple[GuestDiskAddress, ...])
    except NotThatValue:
        return ()
