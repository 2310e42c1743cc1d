"""Encrypted images: their key, by a passphrase; their guest data, read and written as plain.

LUKS (method 2) takes the sector in the *host file* as IV, the legacy AES form (method 1) the
guest's sector; so the first is a file that decrypts itself, and the second needs the guest offset.
The legacy form cannot tell a wrong key, which yields noise. Only clusters with data are encrypted,
never tables, never zeros that are flags. Follows QEMU's docs/interop/qcow2 ("Full disk encryption
header"): no data follow a LUKS header in qcow2; block/luks1.py has the header itself.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from growdisk.block.device import BlockDevice, Part, ResizableDevice, read_padded
from growdisk.block.luks1 import (
    DIGEST_LENGTH,
    LENGTH,
    MAX_KEY_BYTES,
    SLOTS,
    STRIPES,
    KeySlot,
    Luks1Header,
    Read,
    split,
)
from growdisk.block.sector_cipher import SECTOR, SectorCipher, UnknownCipher, sector_cipher
from growdisk.errors import ImageUnsupported, WrongKey
from growdisk.qcow2.header import Extension, Header
from growdisk.qcow2.header_fields import LEGACY_AES, damaged
from growdisk.qcow2.metadata import DataFile
from growdisk.units import align_down, align_up

_AES_KEY_BYTES = 16
_MAX_HEADER = 64 << 20
_SLOT_ALIGNMENT = 4096
# Of all slots, each with the digest after it: the maker of the image chose them, and a wrong
# passphrase is tried in all.
_MIN_ROUNDS, _MAX_ROUNDS = 1000, 1 << 26
_PROBE_ROUNDS = 20_000


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

    return EncryptedData(data, unlock(luks_header_of(read, length, path), keys, read, path))


def luks_header_of(read: Read, length: int, path: Path) -> Luks1Header:
    """The header that `read` gives, which has `length` bytes with its key slots.

    ImageDamaged if it contradicts the format, ImageUnsupported for a cipher that growdisk does not
    know.
    """
    header = Luks1Header.parse(read(0, LENGTH))
    if header is None:
        raise damaged(path, "its encryption header is not LUKS version 1")
    _require_known(header, path)
    problem = header.problem(length)
    if problem is not None:
        raise damaged(path, f"in its encryption header {problem}")
    rounds = sum(slot.rounds + header.rounds for slot in header.active_slots)
    if header.rounds < 1 or rounds > _MAX_ROUNDS:
        raise damaged(path, "its encryption header asks for an impossible number of rounds")
    return header


def unlock(
    header: Luks1Header, passphrases: Iterable[bytes], read: Read, path: Path
) -> SectorCipher:
    """The cipher of the data. WrongKey if none of the passphrases opens a key slot."""
    for passphrase in passphrases:
        if (key := header.key(passphrase, read)) is not None:
            return sector_cipher(header.cipher, header.mode, key)
    raise WrongKey(path)


def _require_known(header: Luks1Header, path: Path) -> None:
    if header.hash not in hashlib.algorithms_available or header.key_length > MAX_KEY_BYTES:
        raise ImageUnsupported(
            path, reason=f"its encryption uses {header.hash} and keys of {header.key_length} bytes"
        )
    try:
        sector_cipher(header.cipher, header.mode, bytes(header.key_length))
    except UnknownCipher as error:
        raise ImageUnsupported(
            path, reason=f"its encryption is {error}, which growdisk does not know"
        ) from error


def luks_header(file: BlockDevice, header: Header, path: Path) -> bytes:
    """The encryption header of a LUKS image with its key slots; a copy of it keeps the key."""
    offset, length = _place(file, header, path)
    return file.read(offset, length)


def _place(file: BlockDevice, header: Header, path: Path) -> tuple[int, int]:
    if header.extension(Extension.CRYPTO) is None:
        raise damaged(path, "it is encrypted and does not say where its encryption header lies")
    offset, length = header.luks_place
    if offset % header.cluster_size or not 0 < length <= _MAX_HEADER or offset + length > file.size:
        raise damaged(path, "its encryption header lies outside the file")
    return offset, length


def new_luks(passphrase: bytes, seconds: float) -> bytes:
    """A whole LUKS header with a new random key, AES-256-XTS, under one passphrase.

    `seconds`: how long trying one passphrase shall take on this machine.
    """
    key, salt, slot_salt = os.urandom(64), os.urandom(32), os.urandom(32)
    rounds = _iterations(seconds)
    # An eighth, as cryptsetup and QEMU take: the key is random, and cannot be guessed anyway.
    digest_rounds = max(rounds // 8, _MIN_ROUNDS)
    digest = hashlib.pbkdf2_hmac("sha256", key, salt, digest_rounds, DIGEST_LENGTH)
    material = align_up(len(key) * STRIPES, _SLOT_ALIGNMENT)
    offsets = [_SLOT_ALIGNMENT + number * material for number in range(SLOTS)]
    # Room for all eight slots, so that others can be filled later.
    header = Luks1Header(
        cipher="aes",
        mode="xts-plain64",
        hash="sha256",
        payload=_SLOT_ALIGNMENT + SLOTS * material,
        key_length=len(key),
        digest=digest,
        salt=salt,
        rounds=digest_rounds,
        uuid=str(uuid.uuid4()),
        slots=(
            KeySlot(True, rounds, slot_salt, offsets[0], STRIPES),
            *(KeySlot(False, 0, b"", offset, STRIPES) for offset in offsets[1:]),
        ),
    )
    slot_key = hashlib.pbkdf2_hmac("sha256", passphrase, slot_salt, rounds, len(key))
    stripes = sector_cipher(header.cipher, header.mode, slot_key).encrypt(
        0, split(key, STRIPES, header.hash)
    )
    return (header.to_bytes().ljust(offsets[0], b"\0") + stripes).ljust(header.payload, b"\0")


def _iterations(seconds: float) -> int:
    """How many rounds take that long here."""
    start = time.process_time()
    hashlib.pbkdf2_hmac("sha256", b"measured", bytes(32), _PROBE_ROUNDS, 64)
    spent = max(time.process_time() - start, 1e-4)
    # half of what is allowed: the digest's come on top
    return min(max(int(_PROBE_ROUNDS * seconds / spent), _MIN_ROUNDS), _MAX_ROUNDS // 2)


class _DecryptingFile:
    """What both forms have in common."""

    def __init__(self, file: ResizableDevice, cipher: SectorCipher) -> None:
        self._file, self._cipher = file, cipher

    @property
    def size(self) -> int:
        return self._file.size

    def read(self, offset: int, length: int, guest_offset: int) -> bytes:
        raise NotImplementedError

    def parts(self, offset: int, length: int, guest_offset: int) -> Iterator[Part]:
        """One part that decrypts, and a part of zeros beyond the file's end."""
        inside = min(max(self.size - offset, 0), length)

        def decipher(buffer: memoryview) -> None:
            # In the thread that asks for the part: a cipher serves one thread.
            buffer[:] = self.read(offset, inside, guest_offset)

        if inside:
            yield Part(offset, offset + inside, decipher)
        if inside < length:
            yield Part(offset + inside, offset + length)


class EncryptedData(_DecryptingFile):
    """Implements DataFile: host offsets, whose sectors are the IVs.

    Less than a sector is read, changed and written.
    """

    def over(self, file: ResizableDevice) -> EncryptedData:
        """The same key for another file."""
        return EncryptedData(file, self._cipher)

    def read(self, offset: int, length: int, guest_offset: int) -> bytes:
        start, end = align_down(offset, SECTOR), align_up(offset + length, SECTOR)
        # The file may end within its last sector.
        data = read_padded(self._file, start, end - start)
        plain = self._cipher.decrypt(start // SECTOR, data)
        return plain[offset - start : offset - start + length]

    def write(self, offset: int, data: bytes | memoryview, guest_offset: int) -> None:
        # Sectors are encrypted whole: the rest of the first and of the last one is read before.
        start, end = align_down(offset, SECTOR), align_up(offset + len(data), SECTOR)
        head = self.read(start, offset - start, 0) if start < offset else b""
        after = offset + len(data)
        tail = self.read(after, end - after, 0) if after < end else b""
        self._file.write(start, self._cipher.encrypt(start // SECTOR, b"".join((head, data, tail))))


class LegacyData(_DecryptingFile):
    """Implements DataFile for the form that is only read: guest sectors are the IVs."""

    def __init__(self, file: ResizableDevice, path: Path, cipher: SectorCipher) -> None:
        super().__init__(file, cipher)
        self._path = path

    def read(self, offset: int, length: int, guest_offset: int) -> bytes:
        # Guest and host offsets lie alike within a sector, as clusters are whole sectors.
        before = guest_offset % SECTOR
        start, end = offset - before, align_up(offset + length, SECTOR)
        data = read_padded(self._file, start, end - start)
        plain = self._cipher.decrypt(guest_offset // SECTOR, data)
        return plain[before : before + length]

    def write(self, offset: int, data: bytes | memoryview, guest_offset: int) -> None:
        raise ImageUnsupported(self._path, reason="the legacy AES form is never written")
