"""Running guests of this host, by what they use: QEMUs by /proc, libvirt's machines by virsh.

libvirt's own library takes 60 ms to load, and has no time limit: a libvirt that hangs must not hang
growdisk.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
import shutil
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from growdisk.block.holders import use_of
from growdisk.block.host_devices import device_number
from growdisk.block.locks import image_writers
from growdisk.errors import GrowdiskError
from growdisk.fast_dataclass import dataclass
from growdisk.units import SizeSpec

_FILE = r"(?:file|filename|path)=(?:file:)?([^,]+)"
# Of libvirtd, and of virtqemud, which is QEMU's part of it as a daemon of its own.
_LIBVIRT_SOCKETS = ("libvirt-sock-ro", "virtqemud-sock-ro", "libvirt-sock", "virtqemud-sock")
_SYSTEM, _SESSION = "qemu:///system", "qemu:///session"
_SOCKET_SECONDS = 0.2
_VIRSH_SECONDS = 10.0


@dataclass(frozen=True)
class QemuProcess:
    """A QEMU; `monitor` is its QMP socket, "" if none is usable; `domain` its name in libvirt."""

    pid: int
    monitor: str
    domain: str

    @property
    def options(self) -> str:
        """What leads growdisk to it, to be pasted."""
        if self.domain:
            return f"-d {shlex.quote(self.domain)}"
        return f"--qmp {shlex.quote(self.monitor)}" if self.monitor else ""


def guest_of(path: Path) -> QemuProcess | None:
    """The QEMU that writes to the image, by any device node.

    None if there is none that we may look at.
    """
    with contextlib.suppress(OSError):
        # First who has QEMU's write lock; if nobody has, who has the file open.
        for pid in image_writers(Path(os.path.realpath(path))) or use_of(path).pids:
            if (found := _qemu(pid)) is not None:
                return found
    return None


def hint_for(path: Path, verb: str, size: SizeSpec | None) -> str:
    """What to do about a running guest that has the image; "" if it is none."""
    found = guest_of(path)
    if found is None:
        return ""
    if found.options:
        wanted = f" {size}" if size else ""
        return (
            f"growdisk {verb} {found.options}{wanted} works on it while it runs; or shut the "
            "guest down first"
        )
    return (
        "shut the guest down; or start it with a monitor (-qmp "
        "unix:SOCKET,server=on,wait=off), for --qmp SOCKET"
    )


def server_folder(path: Path) -> Path | None:
    """The working directory of a socket's server, where its relative file names start from."""
    import socket

    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.connect(str(path))
        # struct ucred: pid, uid, gid.
        pid, _, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return _folder(pid)
    return None


def _folder(pid: int) -> Path:
    """What a QEMU's relative file names start from. OSError if it is gone."""
    proc = Path("/proc") / str(pid)
    folder, words = (proc / "cwd").readlink(), _words(pid)
    if "-daemonize" not in words and "--daemonize" not in words:
        return folder
    # It has changed to / itself: `file=images/a.qcow2` and an open /srv/images/a.qcow2 mean /srv.
    names = [name for word in words for name in re.findall(_FILE, word) if not name.startswith("/")]
    opened = [(file, f"/{name}") for file in _open_files(proc) for name in names]
    starts = {file.removesuffix(name) for file, name in opened if file.endswith(name)}
    # Only if all files agree on the folder.
    return Path(starts.pop() or "/") if len(starts) == 1 else folder


def _open_files(proc: Path) -> Iterator[str]:
    for link in (proc / "fd").iterdir():
        with contextlib.suppress(OSError):
            yield str(link.readlink())


def _words(pid: int) -> list[str]:
    """A process's command line. OSError if it is gone."""
    line = (Path("/proc") / str(pid) / "cmdline").read_bytes()
    return line.decode(errors="surrogateescape").split("\0")


def _qemu(pid: int) -> QemuProcess | None:
    try:
        words, folder = _words(pid), _folder(pid)
    except OSError:
        return None
    if not Path(words[0]).name.startswith(("qemu-system", "qemu-kvm", "kvm")):
        return None
    # libvirt keeps the monitor of its guests for itself: then libvirt is the way.
    names = [
        _fields(value).get("guest") or value.partition(",")[0] for value in _values(words, "-name")
    ]
    domain = names[0] if names and _is_libvirts(words) else ""
    monitor = next(_monitors(words), "")
    return QemuProcess(
        pid, os.path.normpath(folder / monitor) if monitor and not domain else "", domain
    )


def _is_libvirts(words: Sequence[str]) -> bool:
    return any("/libvirt/" in word and "monitor.sock" in word for word in words) or any(
        "id=charmonitor" in word for word in words
    )


def _monitors(words: Sequence[str]) -> Iterator[str]:
    """Paths of QMP sockets: -qmp unix:PATH, or -mon mode=control on a -chardev socket."""
    for value in (*_values(words, "-qmp"), *_values(words, "-qmp-pretty")):
        if value.startswith("unix:"):
            yield value.removeprefix("unix:").partition(",")[0]
    chardevs = {
        own.get("id"): own.get("path", "") for own in map(_fields, _values(words, "-chardev"))
    }
    for value in _values(words, "-mon"):
        fields = _fields(value)
        name = fields.get("chardev") or value.partition(",")[0]
        if fields.get("mode") == "control" and chardevs.get(name):
            yield chardevs[name]


def _values(words: Sequence[str], option: str) -> list[str]:
    """Of "-qmp", say, which QEMU takes as "--qmp" too."""
    return [value for word, value in itertools.pairwise(words) if word in (option, f"-{option}")]


def _fields(value: str) -> dict[str, str]:
    return dict(part.partition("=")[::2] for part in value.split(",") if "=" in part)


# --- libvirt's machines -------------------------------------------------------------------------


def listening() -> Iterator[str]:
    """The URIs of libvirts that answer: the system's, the user's, LIBVIRT_DEFAULT_URI."""
    uri = os.environ.get("LIBVIRT_DEFAULT_URI", "")
    if uri.startswith("qemu:///") and uri not in (_SYSTEM, _SESSION):
        yield uri  # one with a socket of its own (?socket=PATH)
    for known, folder in ((_SYSTEM, Path("/run/libvirt")), (_SESSION, _session_folder())):
        if any(_answers(folder / name) for name in _LIBVIRT_SOCKETS):
            yield known


def _session_folder() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    # As given_path, which most commands have no other need of.
    return Path(runtime, "libvirt") if runtime else Path(os.path.expanduser("~/.cache/libvirt"))  # noqa: PTH111


def _answers(path: Path) -> bool:
    """Whether somebody listens there. A socket file stays behind when its daemon has ended."""
    with contextlib.suppress(OSError):  # also of a folder that one may not enter, as under sudo -u
        if path.is_socket():
            import socket  # with selectors, which most runs do without

            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(_SOCKET_SECONDS)
                probe.connect(str(path))
                return True
    return False


def running_users(number: int) -> list[str]:
    """The names of running machines with a disk whose device number is `number`.

    Empty if libvirt does not answer.
    """
    uris = listening() if shutil.which("virsh") else ()
    return [name for uri in uris for name, p in _running_disks(uri) if device_number(p) == number]


def _running_disks(uri: str) -> Iterator[tuple[str, str]]:
    """Pairs of a machine's name and a path of one of its disks."""
    # Many verbs ask which guests there are, and few hosts have a libvirt: subprocess takes 10 ms.
    from growdisk.host.command import run

    try:
        # --nowait: a machine that is busy with a job is not waited for.
        listed = run(
            ["virsh", "-q", "-r", "-c", uri, "domstats", "--block", "--list-active", "--nowait"],
            timeout=_VIRSH_SECONDS,
        )
    except (GrowdiskError, OSError):
        return
    name = ""
    for line in listed.stdout.splitlines():
        if found := re.fullmatch(r"Domain: '(.*)'", line.strip()):
            name = found[1]
        elif found := re.fullmatch(r"block\.\d+\.path=(.*)", line.strip()):
            yield name, found[1]
