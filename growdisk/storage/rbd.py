"""Mapped images of Ceph, by `rbd resize`.

Spec: rbd(8), Linux Documentation/ABI/testing/sysfs-bus-rbd.
"""

from __future__ import annotations

from pathlib import Path

from growdisk.block.host_devices import kernel_name_of, sysfs_text
from growdisk.errors import GrowdiskError, ImageInUse
from growdisk.fast_dataclass import dataclass
from growdisk.host.command import run
from growdisk.host.json_codec import NotThatValue, decoded
from growdisk.storage.values import Storage

_DEVICES = Path("/sys/bus/rbd/devices")
_SECONDS = 120.0
_MIB = 1 << 20


@dataclass(frozen=True)
class _Watcher:
    address: str
    client: int


@dataclass(frozen=True)
class _Status:
    watchers: tuple[_Watcher, ...] = ()


def look(kernel_name: str, devices: Path = _DEVICES) -> Storage:
    """Of rbd0 and the like. OSError if the kernel does not know it."""
    folder = devices / kernel_name.removeprefix("rbd")
    spec, snapshot = _spec(folder), sysfs_text(folder / "current_snap")
    # The kernel writes a hyphen if it is the image itself.
    if snapshot not in ("", "-"):
        return Storage(
            "rbd", spec, obstacle=f"its snapshot {snapshot} is mapped", hint="map the image itself"
        )
    return Storage("rbd", spec, _MIB)


def refuse_other_clients(path: Path) -> None:
    """ImageInUse if the device is a mapped image that another client, on any host, has too."""
    if others := clients_of(path):
        raise ImageInUse(path, holder=f"another client of the Ceph cluster ({', '.join(others)})")


def clients_of(path: Path) -> tuple[str, ...] | None:
    """Addresses of those clients; () if it is no such device, None if the cluster does not say."""
    kernel_name = kernel_name_of(path.stat().st_rdev)
    if not kernel_name.startswith("rbd"):
        return ()
    folder = _DEVICES / kernel_name.removeprefix("rbd")
    try:
        status = run(["rbd", "status", "--format", "json", _spec(folder)], timeout=_SECONDS).stdout
        return others_in(status, own=sysfs_text(folder / "client_id"))
    except (GrowdiskError, NotThatValue, OSError):
        return None


def others_in(status: str, own: str) -> tuple[str, ...]:
    """Of what `rbd status` says.

    `own` is the mapping's client, as the kernel writes it: client4112.
    """
    # Everybody who has the image open watches its header: our own mapping is one of them.
    watchers = decoded(status, _Status).watchers
    return tuple(watcher.address for watcher in watchers if f"client{watcher.client}" != own)


def words_to_resize(spec: str, size: int, *, smaller: bool) -> list[str]:
    """In MiB, rbd's own unit."""
    shrink = ["--allow-shrink"] if smaller else []
    return ["rbd", "resize", "--no-progress", "--size", str(size // _MIB), *shrink, spec]


def resize(spec: str, size: int, *, smaller: bool) -> None:
    run(words_to_resize(spec, size, smaller=smaller), timeout=_SECONDS)


def _spec(folder: Path) -> str:
    # Names need not be text.
    pool, name = (
        (folder / attribute).read_text(errors="surrogateescape").strip()
        for attribute in ("pool", "name")
    )
    return "/".join(filter(None, (pool, sysfs_text(folder / "pool_ns"), name)))
