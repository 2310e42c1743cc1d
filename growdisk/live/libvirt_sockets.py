"""Whether a libvirt of this machine listens, without loading its library (60 ms)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Of libvirtd, and of virtqemud, which is QEMU's part of it as a daemon of its own.
_NAMES = ("libvirt-sock-ro", "virtqemud-sock-ro", "libvirt-sock", "virtqemud-sock")
_SYSTEM, _SESSION = "qemu:///system", "qemu:///session"
_PATIENCE = 0.2  # seconds


def listening() -> Iterator[str]:
    """The URIs of libvirts that answer: the system's, the user's, LIBVIRT_DEFAULT_URI."""
    uri = os.environ.get("LIBVIRT_DEFAULT_URI", "")
    if uri.startswith("qemu:///") and uri not in (_SYSTEM, _SESSION):
        yield uri  # one with a socket of its own (?socket=PATH)
    for known, folder in ((_SYSTEM, Path("/run/libvirt")), (_SESSION, _session_folder())):
        if any(_answers(folder / name) for name in _NAMES):
            yield known


def _session_folder() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "libvirt" if runtime else Path("~/.cache/libvirt").expanduser()


def _answers(path: Path) -> bool:
    """Whether somebody listens there. A socket file stays behind when its daemon has ended."""
    if not path.is_socket():
        return False
    import socket

    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PATIENCE)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
