"""Upgrades version 2 to version 3 in place, as `qemu-img amend -o compat=1.1` does.

It is done for what version 2 cannot store.

    snapshot entries get their own sizes ─▶ HEADER

The longer header must appear at once, so all of it up to the backing file's name lies in the first
sector; the name itself may have to move, and then goes where the old header has nothing.
"""

from __future__ import annotations

from growdisk.fast_dataclass import replace
from growdisk.qcow2.header import Header
from growdisk.qcow2.header_fields import CURRENT_LENGTH, V2_LENGTH, V3_LENGTH
from growdisk.qcow2.metadata import Metadata
from growdisk.units import align_up

_SECTOR = 512
_BACKING_OFFSET = 8  # of the field in the header, u64


def version_3(header: Header) -> Header:
    """The same image as version 3, which all it has can be."""
    late = bytes(CURRENT_LENGTH - V3_LENGTH)
    return replace(header, version=3, header_length=CURRENT_LENGTH, late_fields=late)


def write_version_3(metadata: Metadata) -> None:
    """Switch to the new header, durably. The tables must hold what version 3 demands."""
    head, name, place = version_3_layout(metadata)
    if name and place >= _SECTOR:
        # A name beyond the first sector cannot appear with the header, so it is there before.
        metadata.file.write(place, name)
        metadata.sync()
        metadata.write_header(version_3(metadata.header), 0, head.ljust(_SECTOR, b"\0"))
    else:
        whole = head.ljust(place, b"\0") + name if name else head
        metadata.write_header(version_3(metadata.header), 0, whole.ljust(_SECTOR, b"\0"))


def version_3_layout(metadata: Metadata) -> tuple[bytes, bytes, int]:
    """The new header with its extensions, the name of the backing file, and where that goes.

    ImageUnsupported if it does not fit.
    """
    old = metadata.header
    new = version_3(old)
    name = (old.backing_file or "").encode("utf-8", "surrogateescape")
    whole = new.to_bytes()
    head = whole[: len(whole) - len(name)]
    place = len(head)
    if name and len(whole) > _SECTOR:
        # After everything that the old header has, which is in use until the new one appears.
        fixed = metadata.file.read(0, V2_LENGTH)
        name_end = int.from_bytes(fixed[8:16], "big") + int.from_bytes(fixed[16:20], "big")
        place = align_up(max(len(head), len(old.to_bytes()), name_end, _SECTOR), 8)
        # to_bytes() has assumed that the name follows directly.
        head = head[:_BACKING_OFFSET] + place.to_bytes(8, "big") + head[_BACKING_OFFSET + 8 :]
    if len(head) > _SECTOR or place + len(name) > old.cluster_size:
        raise metadata.unsupported(
            "its header has no room for the fields of version 3",
            "convert it (growdisk image convert); growdisk has not changed it",
        )
    return head, name, place
