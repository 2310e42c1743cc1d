"""Guest data of an encrypted image: unlocked with a passphrase, then read and written as plain.

LUKS (method 2) takes the sector in the *host file* as IV, the legacy AES form (method 1) the
guest's sector; so the first is a file that decrypts itself, and the second needs the guest offset.
The legacy form cannot tell a wrong key, which yields noise. Only clusters with data are encrypted,
never tables, never zeros that are flags.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from growdisk.block.device import BlockDevice, Part, ResizableDevice
from growdisk.block.sector_cipher import SECTOR, SectorCipher, sector_cipher
from growdisk.errors import ImageUnsupported, WrongKey
from growdisk.qcow2.data import DataFile
from growdisk.qcow2.extensions import Extension
from growdisk.qcow2.header import Header
from growdisk.qcow2.header_rules import damaged
from growdisk.qcow2.header_values import LEGACY_AES
from growdisk.qcow2.luks1 import luks_header_of, unlock
from growdisk.units import align_down, align_up

_AES_KEY_BYTES = 16
_MAX_HEADER = 64 << 20


def open_encrypted(
    file: ResizableDevice,
    data: ResizableDevice,
    header: Header,
    path: Path,
    keys: tuple[bytes, ...],
) -> DataFile:
    """The image's guest data, which lie in `data`, decrypted.

    WrongKey, ImageDamaged or ImageUnsupported otherwise. The first passphrase that fits is taken;
    the legacy form cannot tell, and takes the first.
    """
    if header.crypt_method == LEGACY_AES:
        # The passphrase itself is the key, cut or padded to 16 bytes.
        key = keys[0]
        return LegacyData(
            data, path, sector_cipher("aes", "cbc-plain64", key[:_AES_KEY_BYTES].ljust(16, b"\0"))
        )
    offset, length = _place(file, header, path)

    def read(start: int, count: int) -> bytes:
        if start + count > length:
            raise damaged(path, "its encryption header is cut off")
        return file.read(offset + start, count)

    luks = luks_header_of(read, length, path)
    # WrongKey of the last one is the answer for all.
    for key in keys[:-1]:
        with suppress(WrongKey):
            return EncryptedData(data, unlock(luks, key, read, path))
    return EncryptedData(data, unlock(luks, keys[-1], read, path))


def luks_header(file: BlockDevice, header: Header, path: Path) -> bytes:
    """The encryption header of a LUKS image with its key slots; a copy of it keeps the key."""
    offset, length = _place(file, header, path)
    return file.read(offset, length)


def _place(file: BlockDevice, header: Header, path: Path) -> tuple[int, int]:
    extension = header.extension(Extension.CRYPTO)
    if extension is None or len(extension) != 16:
        raise damaged(path, "it is encrypted and does not say where its encryption header lies")
    offset, length = struct.unpack(">QQ", extension)
    if offset % header.cluster_size or not 0 < length <= _MAX_HEADER or offset + length > file.size:
        raise damaged(path, "its encryption header lies outside the file")
    return offset, length


class EncryptedData:
    """Implements DataFile: host offsets, whose sectors are the IVs.

    Less than a sector is read, changed and written.
    """

    def __init__(self, file: ResizableDevice, cipher: SectorCipher) -> None:
        self._file, self._cipher = file, cipher

    @property
    def size(self) -> int:
        return self._file.size

    def over(self, file: ResizableDevice) -> EncryptedData:
        """The same key for another file."""
        return EncryptedData(file, self._cipher)

    def read(self, offset: int, length: int, guest_offset: int) -> bytes:
        start, end = align_down(offset, SECTOR), align_up(offset + length, SECTOR)
        # The file may end within its last sector.
        inside = min(end, self._file.size)
        data = self._file.read(start, inside - start).ljust(end - start, b"\0")
        plain = self._cipher.decrypt(start // SECTOR, data)
        return plain[offset - start : offset - start + length]

    def parts(self, offset: int, length: int, guest_offset: int) -> Iterator[Part]:
        return _parts(self, offset, length, guest_offset)

    def write(self, offset: int, data: bytes | memoryview, guest_offset: int) -> None:
        # Sectors are encrypted whole: the rest of the first and of the last one is read before.
        start, end = align_down(offset, SECTOR), align_up(offset + len(data), SECTOR)
        head = self.read(start, offset - start, 0) if start < offset else b""
        behind = offset + len(data)
        tail = self.read(behind, end - behind, 0) if behind < end else b""
        self._file.write(start, self._cipher.encrypt(start // SECTOR, b"".join((head, data, tail))))


class LegacyData:
    """Implements DataFile for the form that is only read: guest sectors are the IVs."""

    def __init__(self, file: ResizableDevice, path: Path, cipher: SectorCipher) -> None:
        self._file, self._path, self._cipher = file, path, cipher

    @property
    def size(self) -> int:
        return self._file.size

    def read(self, offset: int, length: int, guest_offset: int) -> bytes:
        # Guest and host offsets lie alike within a sector, as clusters are whole sectors.
        before = guest_offset % SECTOR
        end = align_up(offset + length, SECTOR)
        data = self._file.read(offset - before, min(end, self._file.size) - (offset - before))
        plain = self._cipher.decrypt(
            guest_offset // SECTOR, data.ljust(end - (offset - before), b"\0")
        )
        return plain[before : before + length]

    def parts(self, offset: int, length: int, guest_offset: int) -> Iterator[Part]:
        return _parts(self, offset, length, guest_offset)

    def write(self, offset: int, data: bytes | memoryview, guest_offset: int) -> None:
        raise ImageUnsupported(self._path, reason="the legacy AES form is never written")


def _parts(data: DataFile, offset: int, length: int, guest_offset: int) -> Iterator[Part]:
    """One part that decrypts, and a part of zeros beyond the file's end."""
    inside = min(max(data.size - offset, 0), length)

    def decipher(buffer: memoryview) -> None:
        # In the thread that asks for the part: a cipher serves one thread.
        buffer[:] = data.read(offset, inside, guest_offset)

    if inside:
        yield Part(offset, offset + inside, decipher)
    if inside < length:
        yield Part(offset + inside, offset + length)
