"""Finds what growdisk must not touch on a device: array, pool and file system signatures.

They are looked for at both of its ends. This is the opinion of growdisk alone. If blkid is
available, it is asked as well (api/second_opinion.py).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.signatures import MAGICS, ContentOwner
from growdisk.units import KiB, MiB, align_down

_SECTOR = 512
# Read at once: all places that are counted from the end but one of Promise's and ZFS's labels.
_NEAR_THE_END = 132 * KiB

_MD_MAGIC = 0xA92B4EFC
_MD_RESERVED = 64 * KiB
# Magic, version (three numbers and a count of words); size in KiB. 0.90 is in the byte order of the
# machine that made it.
_MD0 = ("<5I12xI", ">5I12xI")
_MD1 = struct.Struct("<II136xQ")  # magic, major version; the sector that it stands in

_ZFS_LABEL, _ZFS_UBERBLOCKS, _ZFS_SLOT = 256 * KiB, 128 * KiB, 1024
_ZFS_MAGICS = tuple((0x00BAB10C).to_bytes(8, order) for order in ("little", "big"))
_ZFS_LEAST, _ZFS_ENOUGH = 64 * MiB, 4

_SILICON_MAGIC, _SILICON_SUM = 0x2F000000, 0x13E
_VIA_SUM, _JMICRON_SUM = 50, 128

_EXT_MAGIC, _EXT_JOURNAL_DEVICE = 0xEF53, 0x8


@dataclass(frozen=True)
class Foreign:
    """A signature: `kind` as blkid names it, its offset (bytes from the start), and the owner.

    If a device belongs to a larger whole, its own bytes cannot tell what may be done to it.
    """

    kind: str
    offset: int
    owner: ContentOwner = ContentOwner.WHOLE


class Ends:
    """A device, both ends of which are read once.

    Not `thorough`: nothing that lies between them is read.
    """

    def __init__(self, device: BlockDevice, head: bytes, *, thorough: bool = True) -> None:
        self._device, self._head, self.size, self._thorough = device, head, device.size, thorough
        self._tail_start = max(0, self.size - _NEAR_THE_END)
        self._tail = device.read(self._tail_start, self.size - self._tail_start)

    def at(self, offset: int, length: int) -> bytes:
        """`length` bytes; none if they would leave the device, or are not to be read."""
        if offset < 0 or offset + length > self.size:
            return b""
        if offset + length <= len(self._head):
            return self._head[offset : offset + length]
        if offset >= self._tail_start:
            return self._tail[offset - self._tail_start :][:length]
        return self._device.read(offset, length) if self._thorough else b""

    def last_sector(self) -> bytes:
        """Of the whole ones."""
        return self.at((self.size // _SECTOR - 1) * _SECTOR, _SECTOR)


def find_foreign(device: BlockDevice, head: bytes, *, thorough: bool = True) -> tuple[Foreign, ...]:
    """All signatures that are found, those of a larger whole first.

    `head` is the beginning of the device.
    """
    ends = Ends(device, head, thorough=thorough)
    found = [content for finder in _FINDERS for content in finder(ends)]
    return tuple(sorted(found, key=lambda content: content.owner is not ContentOwner.WHOLE))


def _by_magic(ends: Ends) -> Iterator[Foreign]:
    for magic in MAGICS:
        for place in magic.places:
            offset = place if place >= 0 else align_down(ends.size, _SECTOR) + place
            if ends.at(offset, len(magic.text)) == magic.text:
                yield Foreign(magic.kind, offset, magic.owner)
                break


def _linux_raid(ends: Ends) -> Iterator[Foreign]:
    """0.90 in the last whole 64 KiB but one, 1.0 near the end, 1.1 at the start, 1.2 at 4 KiB."""
    old = align_down(ends.size, _MD_RESERVED) - _MD_RESERVED
    for order in _MD0:
        raw = ends.at(old, struct.calcsize(order))
        if raw and _is_md0(struct.unpack(order, raw), old):
            yield Foreign("linux_raid_member", old)
    for offset in (align_down(ends.size, 4 * KiB) - 8 * KiB, 0, 4 * KiB):
        raw = ends.at(offset, _MD1.size)
        # super_offset must name the very sector: a copy of the bytes elsewhere is not a member.
        if raw and _MD1.unpack(raw) == (_MD_MAGIC, 1, offset // _SECTOR):
            yield Foreign("linux_raid_member", offset)


def _is_md0(fields: tuple[int, ...], offset: int) -> bool:
    magic, major, _minor, _patch, _words, size = fields
    # The array's data must end before its superblock: a leftover of a larger array is not a member.
    return magic == _MD_MAGIC and major == 0 and size * KiB <= offset


def _zfs(ends: Ends) -> Iterator[Foreign]:
    """Two labels at the start and two at the end, each with a ring of uberblocks: four suffice."""
    if ends.size < _ZFS_LEAST:
        return
    # ZFS rounds the device down to whole labels.
    last = align_down(ends.size, _ZFS_LABEL)
    places: list[int] = []
    for label in (0, _ZFS_LABEL, last - 2 * _ZFS_LABEL, last - _ZFS_LABEL):
        ring = ends.at(label + _ZFS_UBERBLOCKS, _ZFS_LABEL - _ZFS_UBERBLOCKS)
        places += [
            label + _ZFS_UBERBLOCKS + slot
            for slot in range(0, len(ring), _ZFS_SLOT)
            if ring.startswith(_ZFS_MAGICS, slot)
        ]
    # blkid demands as many.
    if len(places) >= _ZFS_ENOUGH:
        yield Foreign("zfs_member", places[0])


def _silicon(ends: Ends) -> Iterator[Foreign]:
    raw = ends.last_sector()
    if (
        len(raw) == _SECTOR
        and struct.unpack_from("<I", raw, 0x60)[0] == _SILICON_MAGIC
        and raw[0x116] < 8
    ):
        # The checksum makes the sum of all words up to itself 0.
        words = struct.unpack_from(f"<{_SILICON_SUM // 2 + 1}H", raw)
        if sum(words) & 0xFFFF == 0:
            yield Foreign("silicon_medley_raid_member", ends.size - _SECTOR)


def _via(ends: Ends) -> Iterator[Foreign]:
    raw = ends.last_sector()
    if raw[:2] == b"\x55\xaa" and raw[2] <= 2 and sum(raw[:_VIA_SUM]) & 0xFF == raw[_VIA_SUM]:
        yield Foreign("via_raid_member", ends.size - _SECTOR)


def _jmicron(ends: Ends) -> Iterator[Foreign]:
    raw = ends.last_sector()
    if raw[:2] == b"JM" and sum(struct.unpack_from(f"<{_JMICRON_SUM // 2}H", raw)) & 0xFFFF in (
        0,
        1,
    ):
        yield Foreign("jmicron_raid_member", ends.size - _SECTOR)


def _nilfs(ends: Ends) -> Iterator[Foreign]:
    """Its two superblocks say how large the device is, and the second one stands at its end."""
    for offset in (1024, (ends.size // _SECTOR - 8) * _SECTOR):
        # s_magic at 6, s_dev_size at 32
        raw = ends.at(offset, 48)
        if raw[6:8] == b"\x34\x34" and int.from_bytes(raw[32:40], "little") == ends.size:
            yield Foreign("nilfs2", offset, ContentOwner.ITSELF)
            return


def _journal(ends: Ends) -> Iterator[Foreign]:
    """A journal that an ext file system elsewhere has for itself."""
    raw = ends.at(1024, 100)
    if (
        raw[56:58] == _EXT_MAGIC.to_bytes(2, "little")
        and int.from_bytes(raw[96:100], "little") & _EXT_JOURNAL_DEVICE
    ):
        yield Foreign("jbd", 1024)


_Finder = Callable[[Ends], Iterator[Foreign]]
_FINDERS: tuple[_Finder, ...] = (
    _linux_raid,
    _by_magic,
    _zfs,
    _silicon,
    _via,
    _jmicron,
    _nilfs,
    _journal,
)
