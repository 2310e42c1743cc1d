"""Names of block devices that stay the same over restarts, unlike dm-3 and sdb.

LVM's and other mappings have a UUID, disks a WWN or a serial, a mapped RBD its cluster and image,
an array its UUID, a loop device the file behind it, a zvol its dataset, a device of NBD's client
the address that qemu-nbd was given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from growdisk.block.host_devices import (
    device_number,
    disk_of_partition,
    kernel_name_of,
    loops,
    sysfs_text,
    value_of,
)
from growdisk.errors import UsageError
from growdisk.fast_dataclass import replace

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from growdisk.block.address import Address

_READABLE = 40  # characters of a name that are kept for people
_THIS_HOST = ("localhost", "127.0.0.1", "::1")
_BY_ID, _BY_DATASET = Path("/dev/disk/by-id"), Path("/dev/zvol")


def identity_of(number: int) -> str:
    """A name, fit for a folder, that stays the same over restarts; "" if nothing of it lasts."""
    kernel_name = kernel_name_of(number)
    if uuid := value_of(number, "dm/uuid"):
        return _short("lv" if uuid.startswith("LVM-") else "dm", uuid.removeprefix("LVM-"))
    if name := value_of(number, "dm/name"):
        return _short("dm-name", name)
    # Partitions have nothing of their own that lasts but their number.
    if (disk := disk_of_partition(number)) is not None and isinstance(disk.node, int):
        parent = identity_of(disk.node)
        return f"{parent}-part{value_of(number, 'partition')}" if parent else ""
    if kernel_name.startswith("loop"):
        found = [loop for loop in loops() if loop.number == number]
        return identity_of_backing(Path(found[0].path), found[0].backing.start) if found else ""
    if kernel_name.startswith("rbd"):
        return _rbd(number)
    if kernel_name.startswith("zd"):
        return _short("zvol", dataset) if (dataset := dataset_of(number)) else ""
    if kernel_name.startswith("nbd"):
        return _attached(_address(value_of(number, "pid")))
    if uuid := value_of(number, "md/uuid"):
        return _short("md", uuid)
    return _disk(number)


def identity_of_backing(path: Path, start: int = 0) -> str:
    """Of the loop device on the file `path` that starts `start` bytes into it."""
    return _short("loop", f"{path}" if not start else f"{path}@{start}")


def identity_of_served(address: Address) -> str:
    """The identity of a disk that another program serves.

    It is the same if the disk is attached as a device of NBD's client, and for all names that this
    host has for itself.
    """
    if address.host.lower() in _THIS_HOST:
        address = replace(address, host="localhost")
    return _short("ssh" if address.scheme == "ssh" else "nbd", address.name)


def dataset_of(number: int) -> str:
    """The dataset of a zvol as udev's links name it, rpool/data/vm-100-disk-0; "" if it is none."""
    for link in sorted(_BY_DATASET.rglob("*")):
        is_whole = link.is_symlink() and not re.search(r"-part\d+$", link.name)
        if is_whole and device_number(str(link)) == number:
            return str(link.relative_to(_BY_DATASET))
    return ""


def lasting_path(path: Path) -> Path:
    """A path that leads to the device after a restart as well, if there is one. A link is kept."""
    absolute = path.absolute()
    number = absolute.stat().st_rdev
    if absolute.is_symlink() or not absolute.is_relative_to("/dev"):
        return absolute
    if name := value_of(number, "dm/name"):
        mapper = Path("/dev/mapper") / name
        return mapper if device_number(str(mapper)) == number else absolute
    return next(_links_to(number), absolute)


def _rbd(number: int) -> str:
    folder = Path("/sys/bus/rbd/devices") / kernel_name_of(number).removeprefix("rbd")
    words = [
        sysfs_text(folder / name)
        for name in ("cluster_fsid", "pool", "pool_ns", "name", "current_snap")
    ]
    # Without the image's name there was no such device in /sys.
    return _short("rbd", "/".join(words)) if words[-2] else ""


def _attached(word: str) -> str:
    from growdisk.block.address import address_of  # few devices need it

    try:
        address = address_of(word)
    except UsageError:
        address = None
    return identity_of_served(address) if address else _short("nbd", word) if word else ""


def _address(thread: str) -> str:
    """The address that qemu-nbd attached, nbd://far/web01, by one of its threads; "" if none."""
    # A command line is its words with a NUL after each.
    words = sysfs_text(Path(f"/proc/{thread}/cmdline")).split("\0") if thread else []
    return next((word for word in words[1:] if "://" in word), "")


def _disk(number: int) -> str:
    for name in ("device/wwid", "wwid", "device/serial", "serial"):
        if value := value_of(number, name):
            return _short("disk", value)
    link = next(_links_to(number), None)
    return _short("disk", link.name) if link else ""


def _links_to(number: int) -> Iterator[Path]:
    return (link for link in sorted(_BY_ID.glob("*")) if device_number(str(link)) == number)


def _short(kind: str, name: str) -> str:
    """Readable, and different for different names."""
    import hashlib  # with OpenSSL, which most runs do not need

    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.")[-_READABLE:]
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
    return f"{kind}-{readable}-{digest[:16]}"
