"""ZFS volumes, by `zfs set volsize`. Spec: zfs-list(8), zfs-set(8), zfsprops(7)."""

from __future__ import annotations

from growdisk.host.command import run
from growdisk.storage.values import Storage
from growdisk.units import format_size

_SECONDS = 60.0


def look(dataset: str) -> Storage:
    """ToolMissing, ToolFailed; ValueError if zfs says something else than its manual does."""
    columns = "available,volblocksize,refreservation"
    words = ["zfs", "list", "-Hp", "-t", "volume", "-o", columns, dataset]
    return storage_in(run(words, timeout=_SECONDS).stdout, dataset)


def storage_in(listing: str, dataset: str) -> Storage:
    """In the words of `zfs list -Hp`: tabs between exact numbers of bytes."""
    available, block, reserved = listing.strip().split("\t")
    place = f"the pool of {dataset}"
    if reserved in ("none", "0", "-"):  # a sparse volume: its size is a promise
        note = f"{place} has {format_size(int(available))} free"
        return Storage("zvol", dataset, int(block), None, place, notes=(note,))
    # A thick volume reserves its whole size: more is there only as far as the pool has it.
    return Storage("zvol", dataset, int(block), int(available), place)


def resize(dataset: str, size: int) -> None:
    run(["zfs", "set", f"volsize={size}", dataset], timeout=_SECONDS)
