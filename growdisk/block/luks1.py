"""LUKS version 1, of an encrypted qcow2 image or of a container inside a guest: header and keys.

The data's key never changes. Each key slot holds it encrypted under a passphrase, and split into
thousands of stripes, all of them needed (anti-forensic, as in LUKS 2): a disk that has replaced a
bad sector may keep the old one, and losing one stripe makes a wiped key slot useless. What cannot
be true is refused; callers say so in their words. Follows the LUKS1 On-Disk Format 1.2.3.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

from growdisk.fast_dataclass import dataclass
from growdisk.units import align_up

TYPE_CHECKING = False  # a cipher's module needs a library that may be missing
if TYPE_CHECKING:
    from growdisk.block.sector_cipher import SectorCipher

MAGIC = b"LUKS\xba\xbe"
# what cryptsetup-reencrypt puts there while it works on a container
IN_TRANSITION = b"LUKS\xde\xad"
SECTOR = 512
SLOTS, STRIPES = 8, 4000
MAX_KEY_BYTES, MAX_STRIPES = 64, 10_000
# for one passphrase in one slot: a header must not keep a processor busy for hours
MAX_ROUNDS = 1 << 27
DIGEST_LENGTH = 20  # LUKS_DIGESTSIZE, whatever the hash gives

_VERSION = 1
# magic, version, cipher, mode, hash, payload in sectors, key bytes, digest, salt, rounds, UUID
_FIXED = struct.Struct(">6sH32s32s32sII20s32sI40s")
_SLOT = struct.Struct(">II32sII")  # state, rounds, salt, offset in sectors, stripes
_ENABLED, _DISABLED = 0x00AC71F3, 0x0000DEAD
LENGTH = _FIXED.size + SLOTS * _SLOT.size

Read = Callable[[int, int], bytes]  # (offset from the header's start, length) -> bytes


@dataclass(frozen=True)
class KeySlot:
    """`offset` of the stripes, from the header's start; `rounds` of PBKDF2."""

    is_active: bool
    rounds: int
    salt: bytes
    offset: int
    stripes: int


@dataclass(frozen=True)
class Luks1Header:
    """All fields of the header; offsets and lengths in bytes. `rounds` are those of the digest."""

    cipher: str
    mode: str
    hash: str
    payload: int
    key_length: int
    digest: bytes
    salt: bytes
    rounds: int
    uuid: str
    slots: tuple[KeySlot, ...]

    @classmethod
    def parse(cls, head: bytes) -> Luks1Header | None:
        """The header that `head` begins with, if any. Its values may still be nonsense."""
        if len(head) < LENGTH:
            return None
        (magic, version, cipher, mode, hasher, payload, key_length, digest, salt, rounds, uuid) = (
            _FIXED.unpack_from(head)
        )
        if magic != MAGIC or version != _VERSION:
            return None
        rows = _SLOT.iter_unpack(head[_FIXED.size : LENGTH])
        slots = tuple(
            KeySlot(state == _ENABLED, slot_rounds, slot_salt, sector * SECTOR, stripes)
            for state, slot_rounds, slot_salt, sector, stripes in rows
        )
        texts, sector = (_text(cipher), _text(mode), _text(hasher)), payload * SECTOR
        return cls(*texts, sector, key_length, digest, salt, rounds, _text(uuid), slots)

    def to_bytes(self) -> bytes:
        """The header as it stands in front of the key slots' stripes."""
        fixed = _FIXED.pack(
            MAGIC,
            _VERSION,
            self.cipher.encode(),
            self.mode.encode(),
            self.hash.encode(),
            self.payload // SECTOR,
            self.key_length,
            self.digest,
            self.salt,
            self.rounds,
            self.uuid.encode(),
        )
        slots = (
            _SLOT.pack(
                _ENABLED if slot.is_active else _DISABLED,
                slot.rounds,
                slot.salt,
                slot.offset // SECTOR,
                slot.stripes,
            )
            for slot in self.slots
        )
        return fixed + b"".join(slots)

    @property
    def active_slots(self) -> tuple[KeySlot, ...]:
        return tuple(slot for slot in self.slots if slot.is_active)

    def problem(self, length: int) -> str | None:
        """Why no passphrase should be tried, or None. `length`: where the stripes must end."""
        for slot in self.active_slots:
            end = slot.offset + align_up(self.key_length * slot.stripes, SECTOR)
            if not 0 < slot.stripes <= MAX_STRIPES or not 0 < self.key_length <= MAX_KEY_BYTES:
                return "a key slot cannot be true"
            if end > length:
                return "a key slot lies outside"
            if min(slot.rounds, self.rounds) < 1 or slot.rounds + self.rounds > MAX_ROUNDS:
                return "a key slot asks for an impossible amount of work"
        return None

    def key(self, passphrase: bytes, read: Read) -> bytes | None:
        """The data's key; None if the passphrase opens no slot. Only if there is no problem().

        UnknownCipher, or ValueError for a hash that this machine does not know.
        """
        # One slot after the other: each may take a second, and the first that opens ends it.
        keys = (self._key_in(slot, passphrase, read) for slot in self.active_slots)
        return next((key for key in keys if key is not None), None)

    def _key_in(self, slot: KeySlot, passphrase: bytes, read: Read) -> bytes | None:
        # loaded for those who have a passphrase
        from hashlib import pbkdf2_hmac

        from growdisk.block.sector_cipher import sector_cipher

        area_key = pbkdf2_hmac(self.hash, passphrase, slot.salt, slot.rounds, self.key_length)
        cipher = sector_cipher(self.cipher, self.mode, area_key)
        material = read(slot.offset, align_up(self.key_length * slot.stripes, SECTOR))
        key = key_from(material, cipher, self.key_length, slot.stripes, self.hash)
        proof = pbkdf2_hmac(self.hash, key, self.salt, self.rounds, DIGEST_LENGTH)
        return key if proof == self.digest else None


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("ascii", "replace")


def split(key: bytes, stripes: int, digest: str) -> bytes:
    """The key as so many stripes."""
    # All stripes but the last are random; the last is what makes the key come out of all.
    drawn, state = [os.urandom(len(key)) for _ in range(stripes - 1)], bytes(len(key))
    for stripe in drawn:
        state = _diffused(xor(state, stripe), digest)
    return b"".join((*drawn, xor(state, key)))


def key_from(
    material: bytes, cipher: SectorCipher, length: int, stripes: int, digest: str
) -> bytes:
    """What a key slot's encrypted stripes hold: a key, or noise if `cipher` is not theirs."""
    plain, state = cipher.decrypt(0, material)[: length * stripes], bytes(length)
    for start in range(0, len(plain) - length, length):
        state = _diffused(xor(state, plain[start : start + length]), digest)
    return xor(state, plain[-length:])


def _diffused(block: bytes, digest: str) -> bytes:
    from hashlib import new  # loaded for those who have a passphrase

    size = new(digest).digest_size
    # Each piece as long as a hash is replaced by the hash of its number and itself.
    parts = (block[start : start + size] for start in range(0, len(block), size))
    hashed = (
        new(digest, n.to_bytes(4, "big") + part).digest()[: len(part)]
        for n, part in enumerate(parts)
    )
    return b"".join(hashed)


def xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "little") ^ int.from_bytes(other, "little")).to_bytes(
        len(one), "little"
    )
