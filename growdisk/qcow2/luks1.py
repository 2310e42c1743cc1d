"""A LUKS version 1 header in an encrypted qcow2 image: created, or opened with a passphrase.

The data's key never changes; each key slot holds it encrypted under a passphrase and expanded to
4000 stripes, so that losing one sector loses the key. In qcow2 no data follow the header: sectors
of the *host file* are the IVs. Follows the LUKS On-Disk Format Specification 1.2 and QEMU's
docs/interop/qcow2 ("Full disk encryption header").
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from growdisk.block.luks_stripes import merged, split
from growdisk.block.sector_cipher import SECTOR, SectorCipher, UnknownCipher, sector_cipher
from growdisk.errors import ImageUnsupported, WrongKey
from growdisk.fast_dataclass import dataclass
from growdisk.qcow2.header_rules import damaged
from growdisk.units import align_up

# Magic, version, cipher, mode, hash, where data begin (sectors), bytes of the key, the key's
# digest, its salt and iterations, UUID.
_FIXED = struct.Struct(">6sH32s32s32sII20s32sI40s")
# State, iterations, salt, where the stripes lie (sectors), their number.
_SLOT = struct.Struct(">II32sII")
_MAGIC, _VERSION = b"LUKS\xba\xbe", 1
_ENABLED, _DISABLED = 0x00AC71F3, 0x0000DEAD
_SLOTS, _STRIPES = 8, 4000
_SLOT_ALIGNMENT = 4096
# in all: an image must not keep a processor busy for minutes
_MIN_ITERATIONS, _MAX_ITERATIONS = 1000, 1 << 26
_MAX_KEY_BYTES, _MAX_STRIPES = 64, 10_000
_PROBE_ITERATIONS = 20_000
Read = Callable[[int, int], bytes]  # (offset in the LUKS header, length) -> bytes


@dataclass(frozen=True)
class KeySlot:
    active: bool
    iterations: int
    salt: bytes
    offset: int
    stripes: int


@dataclass(frozen=True)
class Luks1Header:
    """What stands in front of the key slots; `key_length` in bytes."""

    cipher: str
    mode: str
    hash: str
    key_length: int
    digest: bytes
    salt: bytes
    iterations: int
    slots: tuple[KeySlot, ...]

    @classmethod
    def parse(cls, read: Read, length: int, path: Path) -> Luks1Header:
        """The header that `read` gives.

        ImageDamaged if it contradicts the format, ImageUnsupported for a cipher that growdisk does
        not know.
        """
        # Where data begin, and the UUID, mean nothing inside a qcow2 image.
        magic, version, cipher, mode, digest_name, _, key_length, digest, salt, iterations, _ = (
            _FIXED.unpack(read(0, _FIXED.size))
        )
        if magic != _MAGIC or version != _VERSION:
            raise damaged(path, "its encryption header is not LUKS version 1")
        slots = tuple(
            KeySlot(state == _ENABLED, rounds, slot_salt, sector * SECTOR, stripes)
            for state, rounds, slot_salt, sector, stripes in _SLOT.iter_unpack(
                read(_FIXED.size, _SLOTS * _SLOT.size)
            )
        )
        header = cls(
            _text(cipher),
            _text(mode),
            _text(digest_name),
            key_length,
            digest,
            salt,
            iterations,
            slots,
        )
        header._check(length, path)
        return header

    def unlock(self, passphrase: bytes, read: Read, path: Path) -> SectorCipher:
        """The cipher of the data. WrongKey if the passphrase opens no key slot."""
        for slot in self.slots:
            if slot.active and (key := self._key_in(slot, passphrase, read)) is not None:
                return sector_cipher(self.cipher, self.mode, key)
        raise WrongKey(path)

    def _key_in(self, slot: KeySlot, passphrase: bytes, read: Read) -> bytes | None:
        slot_key = hashlib.pbkdf2_hmac(
            self.hash, passphrase, slot.salt, slot.iterations, self.key_length
        )
        length = self.key_length * slot.stripes
        material = read(slot.offset, align_up(length, SECTOR))
        stripes = sector_cipher(self.cipher, self.mode, slot_key).decrypt(0, material)[:length]
        key = merged(stripes, self.key_length, self.hash)
        # The digest of the key has 20 bytes, whatever the hash gives (LUKS_DIGESTSIZE).
        if hashlib.pbkdf2_hmac(self.hash, key, self.salt, self.iterations, 20) == self.digest:
            return key
        return None

    def _check(self, length: int, path: Path) -> None:
        if self.hash not in hashlib.algorithms_available or self.key_length > _MAX_KEY_BYTES:
            raise ImageUnsupported(
                path, reason=f"its encryption uses {self.hash} and keys of {self.key_length} bytes"
            )
        try:
            sector_cipher(self.cipher, self.mode, bytes(self.key_length))
        except UnknownCipher as error:
            raise ImageUnsupported(
                path, reason=f"its encryption is {error}, which growdisk does not know"
            ) from error
        # A trial goes through all slots: what they ask for together is bounded as well.
        for slot in self.slots:
            inside = slot.offset + align_up(self.key_length * slot.stripes, SECTOR) <= length
            sound = (
                0 < slot.stripes <= _MAX_STRIPES
                and 0 < slot.iterations <= _MAX_ITERATIONS
                and inside
            )
            if slot.active and not sound:
                raise damaged(path, "a key slot of its encryption header cannot be true")
        rounds = sum(slot.iterations for slot in self.slots if slot.active)
        if not 0 < self.iterations <= _MAX_ITERATIONS - rounds:
            raise damaged(path, "its encryption header asks for an impossible number of rounds")


def new_luks(passphrase: bytes, seconds: float) -> bytes:
    """A whole LUKS header with a new random key, AES-256-XTS, under one passphrase.

    `seconds`: how long trying one passphrase shall take on this machine.
    """
    key, salt, slot_salt = os.urandom(64), os.urandom(32), os.urandom(32)
    rounds = _iterations(seconds)
    # An eighth, as cryptsetup and QEMU take: the key is random, and cannot be guessed anyway.
    digest_rounds = max(rounds // 8, _MIN_ITERATIONS)
    digest = hashlib.pbkdf2_hmac("sha256", key, salt, digest_rounds, 20)
    material = align_up(len(key) * _STRIPES, _SLOT_ALIGNMENT)
    offsets = [_SLOT_ALIGNMENT + number * material for number in range(_SLOTS)]
    # Room for all eight slots, so that others can be filled later.
    payload = _SLOT_ALIGNMENT + _SLOTS * material
    fixed = _FIXED.pack(
        _MAGIC,
        _VERSION,
        b"aes",
        b"xts-plain64",
        b"sha256",
        payload // SECTOR,
        len(key),
        digest,
        salt,
        digest_rounds,
        str(uuid.uuid4()).encode(),
    )
    slots = [_SLOT.pack(_ENABLED, rounds, slot_salt, offsets[0] // SECTOR, _STRIPES)]
    slots += [_SLOT.pack(_DISABLED, 0, b"", offset // SECTOR, _STRIPES) for offset in offsets[1:]]
    slot_key = hashlib.pbkdf2_hmac("sha256", passphrase, slot_salt, rounds, len(key))
    stripes = sector_cipher("aes", "xts-plain64", slot_key).encrypt(
        0, split(key, _STRIPES, "sha256")
    )
    return ((fixed + b"".join(slots)).ljust(offsets[0], b"\0") + stripes).ljust(payload, b"\0")


def _iterations(seconds: float) -> int:
    """How many rounds take that long here."""
    start = time.process_time()
    hashlib.pbkdf2_hmac("sha256", b"measured", bytes(32), _PROBE_ITERATIONS, 64)
    spent = max(time.process_time() - start, 1e-4)
    return min(max(int(_PROBE_ITERATIONS * seconds / spent), _MIN_ITERATIONS), _MAX_ITERATIONS)


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("ascii", "replace")
