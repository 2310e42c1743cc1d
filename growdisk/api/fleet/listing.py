"""The list: which disks, looked at by several processes, running guests asked, overlays found.

Reads only. A process each for a share of the images: what is to be done is computing, and libparted
keeps state of its own. They are forked before guests are asked, which takes threads.
"""

from __future__ import annotations

import glob
import multiprocessing
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path

from growdisk.api.fleet.looking import look_at_image
from growdisk.api.fleet.values import LIVE, DiskEntry
from growdisk.error_document import error_document
from growdisk.errors import GrowdiskError, ImageNotReadable, Refused
from growdisk.fast_dataclass import dataclass, replace
from growdisk.qcow2.names_in_headers import identity, named_files
from growdisk.workflow.stopping import set_handlers

_ALONE = 24  # images that one process has looked at before others have started
_LIBVIRT_SECONDS = 60.0


@dataclass(frozen=True)
class Wanted:
    """Images by path, glob or folder; machines of libvirt by name or glob, or all of them.

    `forgiving`: a pattern may be for no machine or no image; a libvirt that does not answer is an
    entry with an error.
    """

    paths: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    all_domains: bool = False
    uri: str | None = None
    forgiving: bool = False


def list_disks(wanted: Wanted) -> list[DiskEntry]:
    """An entry for each disk, as named, machines last.

    libvirt-unreachable, if machines are asked for.
    """
    # Each image once, in the order in which they were named.
    images = dict.fromkeys(path for name in wanted.paths for path in _meant(name, wanted.forgiving))
    entries = [DiskEntry(image, image) for image in images]
    if wanted.domains or wanted.all_domains:
        entries += _forgiven(wanted) if wanted.forgiving else _of_machines(wanted)
    # In this order: it forks, and asking guests starts threads.
    looked = _looked(entries)
    return _with_overlays(_with_guests(looked, wanted.uri))


def _forgiven(wanted: Wanted) -> list[DiskEntry]:
    try:
        return list(_of_machines(wanted))
    except Refused as error:  # it does not answer, or is not there at all
        name = f"libvirt at {wanted.uri}" if wanted.uri else "libvirt"
        return [DiskEntry(name, error=error_document(error))]


def _of_machines(wanted: Wanted) -> Iterator[DiskEntry]:
    from growdisk.live.libvirt_domain import domain_unknown, machines_within

    machines, uri = machines_within(wanted.uri, _LIBVIRT_SECONDS), wanted.uri or "its default"
    # A pattern for no machine is a mistake, unless it stands in a rules file for years to come.
    for pattern in () if wanted.all_domains or wanted.forgiving else wanted.domains:
        if not any(fnmatchcase(machine.name, pattern) for machine in machines):
            known = tuple(machine.name for machine in machines)
            error: GrowdiskError = domain_unknown(pattern, uri=uri, known=known)
            yield DiskEntry(pattern, domain=pattern, error=error_document(error))
    for machine in machines:
        if wanted.all_domains or any(fnmatchcase(machine.name, one) for one in wanted.domains):
            for disk in machine.disks:
                name = machine.name if len(machine.disks) == 1 else f"{machine.name}:{disk.target}"
                yield DiskEntry(
                    name,
                    disk.file,
                    machine.name,
                    disk.target,
                    "running" if machine.running else "off",
                )


def _looked(entries: Sequence[DiskEntry]) -> list[DiskEntry]:
    if len(entries) < _ALONE:
        return [_look(entry) for entry in entries]
    workers = min(os.cpu_count() or 1, 8)
    # Large disks lie side by side: to each its share of them.
    shares, begun, looked = [entries[n::workers] for n in range(workers)], [], list(entries)
    # A Ctrl-C within a fork is lost, and may leave a lock (that of logging) taken for ever.
    old = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        begun = [_begun(share) for share in shares]
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
        for n, (_, answer) in enumerate(begun):
            looked[n::workers] = _answered(answer, shares[n])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
        for process, _ in begun:
            process.kill()
            process.join()
    return looked


def _begun(share: Sequence[DiskEntry]) -> tuple[ForkProcess, Connection]:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_look_apart, args=(share, theirs))
    process.start()
    theirs.close()  # the process alone has it now: its end will be seen
    return process, ours


def _answered(answer: Connection, share: Sequence[DiskEntry]) -> list[DiskEntry]:
    with suppress(EOFError, OSError):  # OSError: half of it came
        found: list[DiskEntry] = answer.recv()
        return found
    reason, hint = "the process that read it, and others, is gone", "look at it with growdisk show"
    return [
        replace(entry, error=error_document(ImageNotReadable(Path(entry.name), reason, hint)))
        for entry in share
    ]


def _look_apart(share: Sequence[DiskEntry], answer: Connection) -> None:
    # The handlers inherited from the parent would request a stop.
    signal.set_wakeup_fd(-1)
    set_handlers(signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for all of the terminal's
    parent = os.getppid()
    with suppress(BrokenPipeError):  # the list was killed: what is left is not looked at
        answer.send([_look(entry) for entry in share if os.getppid() == parent])


def _look(entry: DiskEntry) -> DiskEntry:
    if entry.error is not None:
        return entry
    if not entry.path:
        return replace(entry, note="its disk is not a file of this host")
    return look_at_image(entry)


def _with_guests(entries: list[DiskEntry], uri: str | None) -> list[DiskEntry]:
    places = [number for number, entry in enumerate(entries) if entry.state in LIVE]
    if not places:
        return entries
    from growdisk.api.fleet.running_guests import ask_guests, with_guest_usage

    guest_answers = ask_guests([entries[number] for number in places], uri)
    disks = Counter(entry.domain for entry in entries if entry.domain)
    for place, answer in guest_answers.items():
        entry = entries[places[place]]
        # It answered, so it runs, even if its image could not be read while it wrote.
        entry = entry if isinstance(answer, str) else replace(entry, state="running", error=None)
        entries[places[place]] = with_guest_usage(entry, answer, alone=disks[entry.domain] <= 1)
    return entries


def _with_overlays(entries: Sequence[DiskEntry]) -> list[DiskEntry]:
    """What lies directly on each, among the files of their folders: each header is read once."""
    folders = {os.path.dirname(os.path.realpath(entry.path)) for entry in entries if entry.path}  # noqa: PTH120
    above = defaultdict(list)
    for path in (path for folder in sorted(folders) for path in _files(folder)):
        for below in named_files(path):
            above[below].append(path)
    if not above:
        return list(entries)
    # (0, 0) is not a file.
    found = ((entry, above.get(identity(entry.path) or (0, 0), [])) for entry in entries)
    return [replace(entry, overlays=tuple(over)) if over else entry for entry, over in found]


def _files(folder: str) -> Iterable[str]:
    if folder.startswith("/dev"):
        # Nodes of devices: overlays are not looked for among them.
        return ()
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if entry.is_file(follow_symlinks=False))
    except OSError:
        return ()


# --- which images are meant: by their names, or their first bytes ---------------------------------

_SUFFIXES = (".qcow2", ".qcow", ".raw", ".img")
_QCOW2 = b"QFI\xfb"


def _meant(name: str, forgiving: bool) -> Iterator[str]:
    """The files that a name means, those of a folder or a glob by name.

    A pattern matches no folders (lost+found, IMAGE.growdisk). One that is for no file stays as it
    is, and will be an entry with an error; `forgiving`: it is left out.
    """
    if os.path.isdir(name):  # noqa: PTH112
        try:
            with os.scandir(name) as entries:
                yield from sorted(entry.path for entry in entries if _is_image(entry))
        except OSError:  # its line will say why
            yield name
    elif os.path.lexists(name) or not glob.has_magic(name):
        yield name or "."
    else:
        found = sorted(glob.glob(name)) or ([] if forgiving else [name])  # noqa: PTH207
        yield from (each for each in found if not os.path.isdir(each))  # noqa: PTH112


def _is_image(entry: os.DirEntry[str]) -> bool:
    try:
        # growdisk itself is making such a file, or has copied it as the snapshot of a play.
        if not entry.is_file() or (entry.name.startswith(".") and ".growdisk-" in entry.name):
            return False
        return entry.name.lower().endswith(_SUFFIXES) or _starts_as_qcow2(entry.path)
    except OSError:  # a link that leads to itself
        return False


def _starts_as_qcow2(path: str) -> bool:
    with suppress(OSError), open(path, "rb") as file:  # noqa: PTH123
        return file.read(4) == _QCOW2
    return False
