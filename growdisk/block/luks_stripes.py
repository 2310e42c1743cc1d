"""How LUKS keeps a key: split over thousands of stripes, all of them needed (anti-forensic).

A disk that has replaced a bad sector may keep the old one: losing one stripe makes a wiped key slot
useless. Spec: LUKS1 On-Disk Format 1.2.3, AFsplit and AFmerge.
"""

from __future__ import annotations

import hashlib
import os

TYPE_CHECKING = False  # a cipher's module needs a library that may be missing
if TYPE_CHECKING:
    from growdisk.block.sector_cipher import SectorCipher


def split(key: bytes, stripes: int, digest: str) -> bytes:
    """The key as so many stripes."""
    # All stripes but the last are random; the last is what makes the key come out of all.
    drawn, state = [os.urandom(len(key)) for _ in range(stripes - 1)], bytes(len(key))
    for stripe in drawn:
        state = _diffused(_xor(state, stripe), digest)
    return b"".join((*drawn, _xor(state, key)))


def merged(stripes: bytes, length: int, digest: str) -> bytes:
    """The key again, `length` bytes."""
    state = bytes(length)
    for start in range(0, len(stripes) - length, length):
        state = _diffused(_xor(state, stripes[start : start + length]), digest)
    return _xor(state, stripes[-length:])


def key_from(
    material: bytes, cipher: SectorCipher, length: int, stripes: int, digest: str
) -> bytes:
    """What a key slot's encrypted stripes hold: a key, or noise if `cipher` is not theirs."""
    return merged(cipher.decrypt(0, material)[: length * stripes], length, digest)


def _diffused(block: bytes, digest: str) -> bytes:
    size = hashlib.new(digest).digest_size
    # Each piece as long as a hash is replaced by the hash of its number and itself.
    parts = (block[start : start + size] for start in range(0, len(block), size))
    hashed = (
        hashlib.new(digest, n.to_bytes(4, "big") + part).digest()[: len(part)]
        for n, part in enumerate(parts)
    )
    return b"".join(hashed)


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "little") ^ int.from_bytes(other, "little")).to_bytes(
        len(one), "little"
    )
