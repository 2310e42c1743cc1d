"""Which disks libvirt's machines have, and in which folders its pools keep theirs.

Reads only, and within a time. libvirt's library has no time limit of its own, and a daemon that
hangs would hold a run up for ever: so it is asked by a thread that nobody waits for longer than
that.
"""

from __future__ import annotations

from collections.abc import Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from xml.etree import ElementTree

from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass, field
from growdisk.live.libvirt_domain import (
    KnownMachine,
    definitions,
    known_machines,
    libvirt_unreachable,
)

_END_SECONDS = 5.0  # in which a thread that has answered is at its end


@dataclass
class LibvirtDisks:
    """`disks`: (machine, path of an image), `folders`: of the pools that are active.

    `saved` are machines that are off and have their memory saved. What was answered in time.
    """

    disks: list[tuple[str, str]] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    saved: list[str] = field(default_factory=list)


def known_to(uri: str, seconds: float) -> LibvirtDisks:
    """What the libvirt at `uri` knows, or has answered so far after `seconds`."""
    known = LibvirtDisks()
    asking = Thread(target=_ask, args=(uri, known), name="libvirt", daemon=True)
    asking.start()
    asking.join(seconds)
    # Copies: a thread that is late goes on filling the lists.
    return LibvirtDisks(list(known.disks), list(known.folders), list(known.saved))


def machines_within(uri: str | None, seconds: float) -> tuple[KnownMachine, ...]:
    """All machines of a libvirt, by name.

    libvirt-unreachable, also if it has not answered after `seconds`.
    """
    answers: SimpleQueue[tuple[KnownMachine, ...] | Refused] = SimpleQueue()
    asking = Thread(target=_answer, args=(uri, answers), name="libvirt", daemon=True)
    asking.start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        raise libvirt_unreachable(
            uri or "its default", reason=f"no answer within {seconds:.0f} s"
        ) from None
    # A process that is forked while it is at its end could inherit a lock that nobody gives back.
    asking.join(_END_SECONDS)
    if isinstance(answer, Refused):
        raise answer
    return answer


def _answer(uri: str | None, answers: SimpleQueue[tuple[KnownMachine, ...] | Refused]) -> None:
    try:
        answers.put(known_machines(uri))
    except Refused as error:
        answers.put(error)


def _ask(uri: str, known: LibvirtDisks) -> None:
    for text, is_saved in definitions(uri):
        root = ElementTree.fromstring(text)
        if root.tag == "domain":
            name = root.findtext("name") or ""
            known.saved += [name] if is_saved else []
            known.disks += [(name, path) for path in _disk_paths(root)]
        elif folder := root.findtext("./target/path"):
            known.folders.append(folder)


def _disk_paths(domain: ElementTree.Element) -> Iterator[str]:
    for source in domain.iterfind("./devices/disk/source"):
        if path := source.get("file") or source.get("dev"):
            yield path
