"""What is known of an encrypted image without its key: the LUKS header inside it, in QEMU's words.

Every number is checked before it is used, and a header that contradicts itself is not described at
all: it is the guest's bytes that need the key, not this. Follows the LUKS1 On-Disk Format
Specification, chapter 5.
"""

from __future__ import annotations

import struct

from growdisk.block.device import BlockDevice
from growdisk.qcow2.header import Extension, Header

# magic, version; names of cipher, mode, hash; where the payload begins (sectors), bytes of the key;
# digest of the key, its salt, its rounds; UUID
_FIXED = struct.Struct(">6sH32s32s32sII20s32sI40s")
# state, rounds, salt, where the key material begins (sectors), stripes
_SLOT = struct.Struct(">II32sII")
_SLOTS, _SECTOR = 8, 512
_ACTIVE = 0x00AC71F3
_MAGIC = b"LUKS\xba\xbe"
_AES = 1


def encryption_facts(file: BlockDevice, header: Header) -> dict[str, object] | None:
    """`encrypt` of the format-specific data; None if nothing is encrypted, or known."""
    if header.crypt_method == _AES:
        return {"format": "aes"}
    place = header.extension(Extension.CRYPTO)
    if not header.crypt_method or place is None or len(place) != 16:
        return None
    # The extension says where in the image file the header is, and how long with all key slots.
    offset, length = struct.unpack(">QQ", place)
    needed = _FIXED.size + _SLOTS * _SLOT.size
    if length < needed or offset + needed > file.size:
        return None
    return _luks(file.read(offset, needed))


def _luks(store: bytes) -> dict[str, object] | None:
    magic, version, cipher, mode, digest, payload, key_bytes, _, _, rounds, uuid = (
        _FIXED.unpack_from(store)
    )
    if magic != _MAGIC or version != 1:
        return None
    # "xts-plain64", "cbc-essiv:sha256": chaining, how an IV is made, by which hash.
    chaining, _, generator = _text(mode).partition("-")
    # The two halves of an XTS key are one cipher key each.
    bits = key_bytes * (4 if chaining == "xts" else 8)
    name, _, generator_hash = generator.partition(":")
    facts: dict[str, object] = {
        "ivgen-alg": name,
        "hash-alg": _text(digest),
        "cipher-alg": f"{_text(cipher)}-{bits}",
        "uuid": _text(uuid),
        "format": "luks",
        "cipher-mode": chaining,
        "slots": [
            _slot(*_SLOT.unpack_from(store, _FIXED.size + i * _SLOT.size)) for i in range(_SLOTS)
        ],
        "payload-offset": payload * _SECTOR,
        "master-key-iters": rounds,
    }
    if generator_hash:
        facts["ivgen-hash-alg"] = generator_hash
    return facts


def _slot(state: int, rounds: int, _salt: bytes, sector: int, stripes: int) -> dict[str, object]:
    if state != _ACTIVE:
        return {"active": False, "key-offset": sector * _SECTOR}
    return {"active": True, "iters": rounds, "key-offset": sector * _SECTOR, "stripes": stripes}


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("ascii", "replace")
