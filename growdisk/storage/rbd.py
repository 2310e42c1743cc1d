"""Mapped images of Ceph, by `rbd resize`. Spec: rbd(8), Linux Documentation/ABI/testing/sysfs-bus-rbd."""

from __future__ import annotations

from pathlib import Path

from growdisk.host.command import run
from growdisk.storage.values import Storage

_SECONDS = 120.0
_MIB = 1 << 20


def look(kernel_name: str, devices: Path = Path("/sys/bus/rbd/devices")) -> Storage:
    """Of rbd0 and the like. OSError if the kernel does not know it."""
    folder = devices / kernel_name.removeprefix("rbd")
    pool, name = ((folder / attribute).read_text().strip() for attribute in ("pool", "name"))
    namespace, snapshot = (_optional(folder / attribute) for attribute in ("pool_ns", "current_snap"))
    spec = "/".join(filter(None, (pool, namespace, name)))
    if snapshot not in ("", "-"):
        return Storage("rbd", spec, obstacle=f"its snapshot {snapshot} is mapped", hint="map the image itself")
    return Storage("rbd", spec, _MIB)


def words_to_resize(spec: str, size: int, *, smaller: bool) -> list[str]:
    """In MiB, rbd's own unit."""
    shrink = ["--allow-shrink"] if smaller else []
    return ["rbd", "resize", "--no-progress", "--size", str(size // _MIB), *shrink, spec]


def resize(spec: str, size: int, *, smaller: bool) -> None:
    run(words_to_resize(spec, size, smaller=smaller), timeout=_SECONDS)


def _optional(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
