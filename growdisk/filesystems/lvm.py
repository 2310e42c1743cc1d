"""A physical volume of LVM2: its label, and the text metadata of its volume group.

    |sector 0|label, pv_header|   metadata area: header, ring of texts   | extents ...

The label is in one of the first four sectors. The ring's header says where the newest text
begins; a text may continue after the ring's end, at its start. The UUID is 32 characters, not 16
bytes, and is shown in groups of 6-4-4-4-4-4-6. Source: lvm2, lib/format_text/layout.h.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import dataclass, replace
from growdisk.filesystems.content import Content, PhysicalVolumeContent
from growdisk.filesystems.lvm_text import LvmSection, NotLvmText, parse
from growdisk.filesystems.volume_group import LogicalVolume, LvSegment, PhysicalVolume, VolumeGroup

_SECTOR = 512
_LABEL = struct.Struct("<8sQII8s")  # "LABELONE", sector number, crc, offset of the pv_header, type
_LABEL_CHECKED = 20  # its checksum is of all after it
_PV_HEADER = struct.Struct("<32sQ")  # uuid, size of the device
# offset, size; zeros end a list. First the data areas, then the metadata areas
_AREA = struct.Struct("<QQ")
_RING = struct.Struct("<I16sIQQ")  # crc, magic, version, start and size of the metadata area
_TEXT_AT = struct.Struct("<QQII")  # offset in the area, size, crc, flags
_RING_MAGIC = b" LVM2 x[5A%r0N*>"
_CRC_START, _ALL_ONES = 0xF597A6CF, 0xFFFFFFFF
_EXTENSION, _USED = struct.Struct("<II"), 0x1
_GROUPS = (6, 4, 4, 4, 4, 4, 6)
_MOST_TEXT = 64 << 20
_IGNORED = 0x1  # a metadata area that its owner told LVM not to use


@dataclass(frozen=True)
class Label:
    """What the label says: metadata areas as (offset, size).

    Of a device of size 0 LVM takes all there is.
    """

    uuid: str
    device_size: int
    metadata_areas: tuple[tuple[int, int], ...]
    belongs_to_a_group: bool = False


class VolumeGroupUnreadable(ValueError):
    """The metadata of a physical volume cannot be read; the text says why."""


def read_lvm(head: bytes) -> Content | None:
    label = read_label(head)
    return (
        PhysicalVolumeContent("LVM2_member", label.uuid, size=label.device_size) if label else None
    )


def read_label(head: bytes) -> Label | None:
    for sector in range(0, 4 * _SECTOR, _SECTOR):
        raw = head[sector : sector + _SECTOR]
        if len(raw) < _SECTOR:
            return None
        identifier, number, crc, offset, kind = _LABEL.unpack_from(raw)
        if _crc(raw[_LABEL_CHECKED:]) != crc:
            continue
        if (
            identifier == b"LABELONE"
            and kind == b"LVM2 001"
            and number * _SECTOR == sector
            # The pv_header (40 bytes) must lie in the label's own sector.
            and offset <= _SECTOR - 40
        ):
            uuid, size = _PV_HEADER.unpack_from(raw, offset)
            lists, end = _areas(raw, offset + _PV_HEADER.size)
            return Label(
                _grouped(uuid.decode("ascii", "replace")), size, lists[1], _is_used(raw, end)
            )
    return None


def label_of(device: BlockDevice) -> Label | None:
    return read_label(device.read(0, min(device.size, 4 * _SECTOR)))


def with_group(device: BlockDevice, content: PhysicalVolumeContent) -> PhysicalVolumeContent:
    """The same with its volume group, or with why that cannot be read."""
    try:
        group = read_volume_group(device)
    except VolumeGroupUnreadable as error:
        return replace(content, unreadable=str(error))
    # Its extents: the size in the label is that of the day it was made.
    return replace(content, group=group, size=group.end_of_extents if group else content.size)


def read_volume_group(device: BlockDevice) -> VolumeGroup | None:
    """The volume group of a physical volume; None: it belongs to none yet.

    VolumeGroupUnreadable otherwise.
    """
    label = label_of(device)
    if label is None:
        raise VolumeGroupUnreadable("it has no LVM label")
    if len(label.metadata_areas) != 1:
        raise VolumeGroupUnreadable(
            f"it has {len(label.metadata_areas)} metadata areas, and growdisk reads one"
        )
    text = _newest_text(device, *label.metadata_areas[0])
    if text is None:
        if label.belongs_to_a_group:
            raise VolumeGroupUnreadable(
                "what it says of its group stands on other physical volumes alone"
            )
        return None
    try:
        return _volume_group(parse(text), label.uuid)
    except (NotLvmText, UnicodeDecodeError) as error:
        raise VolumeGroupUnreadable(f"its metadata are damaged: {error}") from error


# --- the bytes ----------------------------------------------------------------------------------


def _is_used(raw: bytes, at: int) -> bool:
    """Whether a group has the physical volume, by the extension after the lists, if present."""
    version, flags = _EXTENSION.unpack_from(raw, at) if at + _EXTENSION.size <= len(raw) else (0, 0)
    return version > 0 and bool(flags & _USED)


def _areas(raw: bytes, at: int) -> tuple[list[tuple[tuple[int, int], ...]], int]:
    """The two lists of areas after a pv_header, and where they end."""
    lists: list[tuple[tuple[int, int], ...]] = []
    areas: list[tuple[int, int]] = []
    while len(lists) < 2 and at + _AREA.size <= len(raw):
        offset, size = _AREA.unpack_from(raw, at)
        at += _AREA.size
        # An area at 0 ends a list: the first list is of data areas, the second of metadata areas.
        if offset:
            areas.append((offset, size))
        else:
            lists.append(tuple(areas))
            areas = []
    # A list that the sector cuts off is empty.
    return [*lists, (), ()][:2], at


def _newest_text(device: BlockDevice, offset: int, size: int) -> str | None:
    if size <= _SECTOR or offset + size > device.size:
        raise VolumeGroupUnreadable("its metadata area lies outside of it")
    header = device.read(offset, _SECTOR)
    crc, magic, _version, start, length = _RING.unpack_from(header)
    if magic != _RING_MAGIC or crc != _crc(header[4:]) or (start, length) != (offset, size):
        raise VolumeGroupUnreadable("the header of its metadata area is damaged")
    at, text_size, text_crc, flags = _TEXT_AT.unpack_from(header, _RING.size)
    # A group may keep its text on other physical volumes alone (pvchange --metadataignore).
    if text_size == 0 or flags & _IGNORED:
        return None
    if not _SECTOR <= at < size or text_size > min(size - _SECTOR, _MOST_TEXT):
        raise VolumeGroupUnreadable("the header of its metadata area is damaged")
    # The ring begins after its own header of one sector, and the text goes on there after its end.
    before_the_end = min(text_size, size - at)
    raw = device.read(offset + at, before_the_end) + device.read(
        offset + _SECTOR, text_size - before_the_end
    )
    if _crc(raw) != text_crc:
        raise VolumeGroupUnreadable("the checksum of its metadata is wrong")
    return raw.rstrip(b"\0").decode()


def _crc(data: bytes) -> int:
    """LVM's: a CRC-32 with a start of its own, and not inverted at its end."""
    return zlib.crc32(data, _CRC_START ^ _ALL_ONES) ^ _ALL_ONES


def _grouped(uuid: str) -> str:
    ends = [sum(_GROUPS[: i + 1]) for i in range(len(_GROUPS))]
    return "-".join(uuid[end - length : end] for length, end in zip(_GROUPS, ends, strict=True))


# --- the text -----------------------------------------------------------------------------------


def _volume_group(text: LvmSection, own_uuid: str) -> VolumeGroup:
    if len(text.sections) != 1:
        raise NotLvmText("there is not one volume group in it")
    ((name, group),) = text.sections.items()
    extent_size = group.number("extent_size") * _SECTOR
    if extent_size <= 0:
        raise NotLvmText("extents have no size")
    physical = tuple(
        _physical(key, section) for key, section in group.below("physical_volumes").items()
    )
    # Keys (pv0, pv1) are local to this text; only the UUID in the label says which one is ours.
    own = next((volume.key for volume in physical if volume.uuid == own_uuid), None)
    if own is None:
        raise NotLvmText("the physical volume itself is not in it")
    logical = tuple(
        _logical(key, section) for key, section in group.below("logical_volumes").items()
    )
    return VolumeGroup(
        name,
        group.text("id"),
        group.number("seqno"),
        extent_size,
        _flags(group),
        physical,
        logical,
        own,
        group.text("allocation_policy", "normal"),
        group.text("system_id", ""),
        group.text("lock_type", ""),
    )


def _physical(key: str, section: LvmSection) -> PhysicalVolume:
    return PhysicalVolume(
        key,
        section.text("id"),
        section.number("dev_size", 0) * _SECTOR,
        section.number("pe_start") * _SECTOR,
        section.number("pe_count"),
        _flags(section),
    )


def _logical(name: str, section: LvmSection) -> LogicalVolume:
    status = _flags(section)
    segments = tuple(
        _segment(section.section(f"segment{number}"))
        for number in range(1, section.number("segment_count") + 1)
    )
    return LogicalVolume(
        name,
        section.text("id"),
        "VISIBLE" in status,
        segments,
        status,
        section.text("allocation_policy", ""),
    )


def _flags(section: LvmSection) -> tuple[str, ...]:
    """LVM keeps apart what old versions must understand and what they need not."""
    return section.words("status") + section.words("flags")


def _segment(section: LvmSection) -> LvSegment:
    # Raid segments name volumes instead ("raids"), and thin ones a pool: neither is read here.
    areas = section.list("stripes") or section.list("mirrors")
    return LvSegment(
        section.number("start_extent"),
        section.number("extent_count"),
        # Newer versions put what old ones must understand after a +.
        section.text("type").partition("+")[0],
        tuple(_pairs(areas)),
        tuple(filter(None, (section.text("origin", ""), section.text("cow_store", "")))),
    )


def _pairs(areas: tuple[str | int, ...]) -> Iterator[tuple[str, int]]:
    for key, extent in zip(areas[::2], areas[1::2], strict=False):
        if not isinstance(key, str) or not isinstance(extent, int):
            raise NotLvmText("stripes are no pairs of a volume and an extent")
        yield key, extent
