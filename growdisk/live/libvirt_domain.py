"""Machines of libvirt: their disks, and QEMU's monitor and agent on libvirt's behalf.

Sole `import libvirt`. Monitor commands go through qemuMonitorCommand: libvirt notes that in its log
as "tainted" and goes on. Its library has no time limit, and a daemon that hangs would hold a run up
for ever: where no machine is named, a thread asks it that nobody waits for longer than agreed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from xml.etree import ElementTree

from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass, field
from growdisk.host.command import COMMAND_LOG
from growdisk.live.guest_shell import AgentError
from growdisk.live.qemu_machine import CommandRefused, monitor_lost

try:
    import libvirt
    import libvirt_qemu
except ImportError as error:
    raise Refused.named(
        "libvirt-missing",
        "libvirt cannot be asked",
        "Python has no module for it here: {reason}",
        "install it (apt install python3-libvirt)",
        {"reason": str(error)},
    ) from error

_END_SECONDS = 5.0  # in which a thread that has answered is at its end
# Kinds of pools whose volumes are files in one folder.
_FOLDER_POOLS = (
    libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE
    | libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_DIR
    | libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_FS
    | libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_NETFS
)


def libvirt_unreachable(uri: str, reason: str) -> Refused:
    return Refused.named(
        "libvirt-unreachable",
        "cannot reach libvirt at {uri}",
        "{reason}",
        "see that virsh -c {uri} list works (is libvirtd running? are you in the group libvirt?)",
        {"uri": uri, "reason": reason},
    )


def domain_unknown(name: str, uri: str, known: tuple[str, ...]) -> Refused:
    return Refused.named(
        "domain-unknown",
        "libvirt knows no machine named '{name}'",
        "at {uri} there are: {known}",
        "name one of them (-d NAME), or another libvirt with -c URI",
        {"name": name, "uri": uri, "known": known},
    )


@dataclass(frozen=True)
class DomainDisk:
    """A disk in the machine's definition: target "vda", image file, its alias in QEMU.

    `elsewhere`: what it is if it is not a file here, in words.
    """

    target: str
    file: str
    alias: str
    elsewhere: str = ""


class Domain:
    """A machine that libvirt knows, running or not."""

    def __init__(self, connection: libvirt.virConnect, domain: libvirt.virDomain, uri: str) -> None:
        self._connection, self._domain, self.uri = connection, domain, uri
        self.name: str = domain.name()

    @classmethod
    def find(cls, name: str, uri: str | None) -> Domain:
        """By name (or UUID). libvirt-unreachable, domain-unknown."""
        # Not read only: the monitor's commands need more than that.
        connection = _connected(uri, libvirt.open)
        known = {domain.name(): domain for domain in connection.listAllDomains()}
        by_id = {domain.UUIDString(): domain for domain in known.values()}
        if found := known.get(name) or by_id.get(name):
            return cls(connection, found, connection.getURI())
        where = connection.getURI()
        connection.close()
        raise domain_unknown(name, uri=where, known=tuple(sorted(known)))

    @property
    def running(self) -> bool:
        return bool(self._domain.isActive())

    def disks(self) -> tuple[DomainDisk, ...]:
        return _disks_of(self._connection, self._domain)

    def execute(self, command: str, **arguments: object) -> object:
        """As Monitor.execute."""
        words = {name.replace("_", "-"): value for name, value in arguments.items()}
        text = _message(command, words)
        COMMAND_LOG.debug("# virsh qemu-monitor-command %s '%s'", self.name, text)
        try:
            # Flags 0: the text is JSON, not the monitor's old commands.
            answer = json.loads(libvirt_qemu.qemuMonitorCommand(self._domain, text, 0))
        except libvirt.libvirtError as error:
            raise monitor_lost(command, reason=_words(error)) from error
        if "error" in answer:
            raise CommandRefused(command, reason=str(answer["error"].get("desc", answer["error"])))
        value: object = answer.get("return")
        return value

    def agent_call(self, command: str, arguments: Mapping[str, object], timeout: float) -> object:
        """As AgentCall: libvirt keeps the channel, and synchronises it."""
        text = _message(command, arguments)
        try:
            answer = json.loads(libvirt_qemu.qemuAgentCommand(self._domain, text, int(timeout), 0))
        except libvirt.libvirtError as error:
            raise AgentError(_words(error)) from error
        value: object = answer.get("return")
        return value

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True)
class KnownMachine:
    """A machine as libvirt lists it."""

    name: str
    running: bool
    disks: tuple[DomainDisk, ...]


def known_machines(uri: str | None) -> tuple[KnownMachine, ...]:
    """All machines of a libvirt, by name; one that goes meanwhile is left out.

    libvirt-unreachable.
    """
    found = []
    connection = _connected(uri)
    try:
        for domain in connection.listAllDomains():
            # It may have gone since it was listed.
            with suppress(libvirt.libvirtError):
                disks = _disks_of(connection, domain)
                found.append(KnownMachine(domain.name(), bool(domain.isActive()), disks))
    except libvirt.libvirtError as error:
        raise libvirt_unreachable(uri or "qemu:///system", reason=_words(error)) from error
    finally:
        connection.close()
    return tuple(sorted(found, key=lambda machine: machine.name))


def definitions(uri: str) -> Iterator[tuple[str, bool]]:
    """The XML of all machines of the libvirt at `uri`, running and defined, and of folder pools.

    With each: whether it is of a machine that resumes from saved memory at its next start. Only
    active pools. What disappears meanwhile is left out; nothing comes if libvirt cannot be reached.
    """
    try:
        connection = _connected(uri)
    except Refused:
        return
    with closing(connection), suppress(libvirt.libvirtError):
        for domain in connection.listAllDomains():
            yield from _definitions_of(connection, domain)
        for pool in connection.listAllStoragePools(_FOLDER_POOLS):
            with suppress(libvirt.libvirtError):
                yield pool.XMLDesc(0), False


def _definitions_of(
    connection: libvirt.virConnect, domain: libvirt.virDomain
) -> list[tuple[str, bool]]:
    """As far as it gets: the machine may disappear at any time."""
    found = []
    with suppress(libvirt.libvirtError):
        found.append((_definition(connection, domain), bool(domain.hasManagedSaveImage())))
        # What it will have at its next start may be other disks than those it runs with.
        if domain.isActive() and domain.isPersistent():
            inactive = _definition(connection, domain, libvirt.VIR_DOMAIN_XML_INACTIVE)
            found.append((inactive, False))
    return found


def volume_path(pool: str, volume: str, uri: str | None) -> Path | None:
    """The path of a volume in an active pool; None if there is none of that name, or no file here.

    libvirt-unreachable.
    """
    with closing(_connected(uri)) as connection:
        path = _volume_path(connection, pool, volume)
    return Path(path) if path else None


def _connected(
    uri: str | None, open: Callable[[str | None], libvirt.virConnect] = libvirt.openReadOnly
) -> libvirt.virConnect:
    libvirt.registerErrorHandler(lambda *_: None, None)  # it prints what it raises
    try:
        return open(uri)
    except libvirt.libvirtError as error:
        raise libvirt_unreachable(uri or "qemu:///system", reason=_words(error)) from error


def _volume_path(connection: libvirt.virConnect, pool: str, volume: str) -> str:
    """The path of a volume, or "": network pools (RBD) name their volumes by something else."""
    with suppress(libvirt.libvirtError):
        path: str = connection.storagePoolLookupByName(pool).storageVolLookupByName(volume).path()
        return path if path.startswith("/") else ""
    return ""


def _definition(connection: libvirt.virConnect, domain: libvirt.virDomain, flags: int = 0) -> str:
    """The machine's XML; a disk that is a volume of a pool has the file of it as well."""
    text: str = domain.XMLDesc(flags)
    if "type='volume'" not in text:
        return text
    root = ElementTree.fromstring(text)
    for source in root.iterfind("./devices/disk[@type='volume']/source"):
        if path := _volume_path(connection, source.get("pool", ""), source.get("volume", "")):
            source.set("file", path)
    return ElementTree.tostring(root, encoding="unicode")


def _disks_of(connection: libvirt.virConnect, domain: libvirt.virDomain) -> tuple[DomainDisk, ...]:
    root = ElementTree.fromstring(_definition(connection, domain))
    return tuple(_disk(node) for node in root.iterfind("./devices/disk[@device='disk']"))


def _disk(node: ElementTree.Element) -> DomainDisk:
    target, source, alias = node.find("target"), node.find("source"), node.find("alias")
    # dev: a block device of the host. Both are missing for a disk of the network.
    file = "" if source is None else source.get("file") or source.get("dev") or ""
    return DomainDisk(
        "" if target is None else target.get("dev", ""),
        str(Path(file)) if file else "",
        "" if alias is None else alias.get("name", ""),
        "" if file or source is None else _elsewhere(source),
    )


def _elsewhere(source: ElementTree.Element) -> str:
    """What a disk is that has no file here."""
    if pool := source.get("pool"):
        return (
            f"the volume {source.get('volume')} of the pool {pool}, which is not active or has "
            "no files here"
        )
    return ":".join(filter(None, (source.get("protocol"), source.get("name"))))


def _message(command: str, arguments: Mapping[str, object]) -> str:
    return json.dumps({"execute": command, **({"arguments": dict(arguments)} if arguments else {})})


def _words(error: libvirt.libvirtError) -> str:
    return str(error.get_error_message() or error)


# --- asked within a time --------------------------------------------------------------------------


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
        reason = f"no answer within {seconds:.0f} s"
        raise libvirt_unreachable(uri or "its default", reason) from None
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
            sources = root.iterfind("./devices/disk/source")
            paths = (source.get("file") or source.get("dev") for source in sources)
            known.disks += [(name, path) for path in paths if path]
        elif folder := root.findtext("./target/path"):
            known.folders.append(folder)
