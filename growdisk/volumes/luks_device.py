"""The content of an opened LUKS container, decrypted as it is read. For superblocks and metadata, not for bulk."""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.block.device import BlockDevice, Extent, ExtentKind, check_range
from growdisk.block.sector_cipher import decrypt_xts, sector_cipher
from growdisk.units import align_down, align_up
from growdisk.volumes.luks import LuksHeader
from growdisk.volumes.lv_device import ReadOnlyDevice

_SECTOR = 512


class DecryptedView(ReadOnlyDevice):
    """Sectors are numbered from the payload on, in units of 512 bytes, also where they are larger (dm-crypt)."""

    def __init__(self, device: BlockDevice, header: LuksHeader, key: bytes) -> None:
        self._device, self._header, self._key = device, header, key
        self.size = align_down(max(device.size - header.payload, 0), header.sector_size)

    def read(self, offset: int, length: int) -> bytes:
        check_range(self.size, offset, length)
        unit = self._header.sector_size
        start, end = align_down(offset, unit), align_up(offset + length, unit)
        raw = self._device.read(self._header.payload + start, end - start)
        return self._decrypted(start // _SECTOR + self._header.iv_start, raw)[offset - start : offset - start + length]

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        check_range(self.size, offset, length)
        yield Extent(offset, offset + length, ExtentKind.DATA)

    def _decrypted(self, sector: int, raw: bytes) -> bytes:
        cipher, _, mode = self._header.cipher.partition("-")
        unit = self._header.sector_size
        if unit == _SECTOR or mode != "xts-plain64" or cipher != "aes":
            return sector_cipher(cipher, mode, self._key).decrypt(sector, raw)
        return b"".join(
            decrypt_xts(self._key, sector + at // _SECTOR, raw[at : at + unit]) for at in range(0, len(raw), unit)
        )
