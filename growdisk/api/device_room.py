"""A qcow2 image on a block device has only the device's space, as in oVirt's LVs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from growdisk.errors import ImageError, shell_word
from growdisk.qcow2.image import Qcow2Image
from growdisk.storage.device import device_size, look_at_storage
from growdisk.units import Bytes, MiB, align_up, format_size

# bytes of data, of clusters of 64 KiB, for each byte of the tables that map and count them
_TABLES = 4096


def refuse_full_device(path: Path, image: Qcow2Image, cluster_size: int, needed: int) -> None:
    """no-room-on-device, if less than `needed` bytes of the device at `path` are free."""
    # The file of a qcow2 image on a device is the device: what no refcount counts is free.
    clusters = device_size(path) // cluster_size
    free = (clusters - image.used_clusters(clusters)) * cluster_size
    if free < needed:
        missing = align_up(needed - free, MiB)
        raise ImageError.named(
            "no-room-on-device",
            "{path} cannot grow so far: its device has no room for that",
            "the run takes at least {wanted} of the device, and {free} of it are not in use",
            "make the device {missing} larger first ({how}), then run the same command again",
            {
                "path": path,
                "wanted": Bytes(needed),
                "free": Bytes(free),
                "missing": Bytes(missing),
                "how": _how(path, missing),
            },
        )


def notes_on_room(path: Path, virtual_size: int) -> Iterator[str]:
    """What the device lacks for a guest that fills its disk of `virtual_size` bytes."""
    missing = align_up(virtual_size + virtual_size // _TABLES - device_size(path), MiB)
    if missing > 0:
        yield (
            f"the device has {format_size(device_size(path))}: before the guest has filled its "
            f"disk, make it about {format_size(missing)} larger ({_how(path, missing)})"
        )


def _how(path: Path, missing: int) -> str:
    storage = look_at_storage(path)
    if storage.kind == "lvm":
        return f"lvextend --size +{missing // MiB}m {storage.name}"
    if storage.kind == "loop":
        return (
            f"truncate --size +{missing // MiB}M {shell_word(Path(storage.name))}; losetup "
            f"--set-capacity {path}"
        )
    return storage.hint or "with the tools of its storage"
