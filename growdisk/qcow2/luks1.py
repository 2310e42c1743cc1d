"""The LUKS version 1 header of an encrypted qcow2 image: created, or opened with a passphrase.

In qcow2 no data follow the header: sectors of the *host file* are the IVs. Follows QEMU's
docs/interop/qcow2 ("Full disk encryption header"); block/luks1.py has the header itself.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from pathlib import Path

from growdisk.block.luks1 import (
    DIGEST_LENGTH,
    LENGTH,
    MAX_KEY_BYTES,
    SLOTS,
    STRIPES,
    KeySlot,
    Luks1Header,
    NotLuks1,
    Read,
    split,
)
from growdisk.block.sector_cipher import SectorCipher, UnknownCipher, sector_cipher
from growdisk.errors import ImageUnsupported, WrongKey
from growdisk.qcow2.header_rules import damaged
from growdisk.units import align_up

_SLOT_ALIGNMENT = 4096
# Of all slots, each with the digest after it: the maker of the image chose them, and a wrong
# passphrase is tried in all.
_MIN_ROUNDS, _MAX_ROUNDS = 1000, 1 << 26
_PROBE_ROUNDS = 20_000


def luks_header_of(read: Read, length: int, path: Path) -> Luks1Header:
    """The header that `read` gives, which has `length` bytes with its key slots.

    ImageDamaged if it contradicts the format, ImageUnsupported for a cipher that growdisk does not
    know.
    """
    try:
        header = Luks1Header.parse(read(0, LENGTH))
    except NotLuks1 as error:
        raise damaged(path, "its encryption header is not LUKS version 1") from error
    _require_known(header, path)
    problem = header.problem(length)
    if problem is not None:
        raise damaged(path, f"in its encryption header {problem}")
    rounds = sum(slot.rounds + header.rounds for slot in header.active_slots)
    if header.rounds < 1 or rounds > _MAX_ROUNDS:
        raise damaged(path, "its encryption header asks for an impossible number of rounds")
    return header


def unlock(header: Luks1Header, passphrase: bytes, read: Read, path: Path) -> SectorCipher:
    """The cipher of the data. WrongKey if the passphrase opens no key slot."""
    key = header.key(passphrase, read)
    if key is None:
        raise WrongKey(path)
    return sector_cipher(header.cipher, header.mode, key)


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
