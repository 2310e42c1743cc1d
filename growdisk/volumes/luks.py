"""An encrypted partition: LUKS version 1 or 2, opened for reading by our own code.

What encrypts the data, the volume key, lies in key slots, each under a passphrase. Who has it
needs no passphrase any more: it is what the appliance gets, where deriving it again would take
minutes under emulation and, as argon2 is made to, more memory than the appliance has. Follows the
LUKS1 On-Disk Format 1.2.3 and the LUKS2 On-Disk Format 1.1.0.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import partial

from growdisk.block.device import BlockDevice, check_range
from growdisk.block.luks1 import (
    IN_TRANSITION,
    MAGIC,
    MAX_ROUNDS,
    MAX_STRIPES,
    SECTOR,
    Luks1Header,
    key_from,
)
from growdisk.block.sector_cipher import UnknownCipher, decrypt_unit, sector_cipher
from growdisk.block.window import ReadOnlyDevice
from growdisk.errors import ToolMissing
from growdisk.fast_dataclass import dataclass
from growdisk.host.json_codec import decoded
from growdisk.units import align_down, align_up
from growdisk.volumes.luks2_json import Digest, Kdf, Keyslot, Luks2Metadata, Luks2Segment, measured

_JSON_AT = 4096
# Bounds for what a header may ask of us: bytes, bytes of a key; KiB of memory.
_MOST_JSON, _MOST_KEY = 4 << 20, 128
_MOST_MEMORY_KIB = 4 << 20
# argon2's memory times its passes: a quarter of an hour, where a second is usual.
_MOST_WORK_KIB = 1 << 30
_MOST_SLOTS = 32
# Data begin at byte 0 of their device: that is another one.
_DETACHED = "it is only the header of data that lie elsewhere (cryptsetup --header)"


class LuksUnreadable(ValueError):
    """The header is damaged or unsupported: the text says what, `cure` what to do, if anything."""

    cure = ""


class InTransition(LuksUnreadable):
    """A re-encryption has begun and not ended: two keys, and a border between them that moves."""

    cure = "let it end first, in the guest: cryptsetup reencrypt --resume-only DEVICE"

    def __init__(self) -> None:
        super().__init__("it is being encrypted, decrypted or re-encrypted, and that has not ended")


_Unlock = Callable[[BlockDevice, bytes], bytes | None]
"""The volume key that a passphrase opens; None if it opens none. ValueError, ToolMissing."""


@dataclass(frozen=True)
class LuksHeader:
    """Where the encrypted bytes lie, and how.

    `fixed`: why they do not simply reach to the end of the device. `registers`: those of a TPM that
    one of its tokens goes by.
    """

    uuid: str
    payload: int
    cipher: str
    sector_size: int
    iv_start: int
    unlock: _Unlock
    fixed: str = ""
    registers: frozenset[int] = frozenset()

    def volume_key(self, device: BlockDevice, passphrase: bytes) -> bytes | None:
        """The key that the passphrase opens; None when it opens none.

        LuksUnreadable, UnknownCipher, ToolMissing.
        """
        try:
            return self.unlock(device, passphrase)
        except UnknownCipher:
            raise
        except (ValueError, TypeError) as error:
            raise LuksUnreadable(str(error)) from error


def read_luks_header(device: BlockDevice) -> LuksHeader:
    """The header of `device`, of which is known that it has one. LuksUnreadable."""
    head = device.read(0, min(device.size, _JSON_AT))
    if head.startswith(IN_TRANSITION):
        raise InTransition
    if not head.startswith(MAGIC) or len(head) < _JSON_AT:
        raise LuksUnreadable("there is no LUKS header")
    if (version_1 := Luks1Header.parse(head)) is not None:
        return _version_1(version_1)
    try:
        return _version_2(device, head)
    except LuksUnreadable:
        raise
    except (KeyError, ValueError) as error:
        raise LuksUnreadable(f"its header is damaged: {error}") from error


# --- version 1 ----------------------------------------------------------------------------------


def _version_1(header: Luks1Header) -> LuksHeader:
    cipher = f"{header.cipher}-{header.mode}"
    unlock = partial(_unlock_1, header)
    fixed = "" if header.payload else _DETACHED
    return LuksHeader(header.uuid, header.payload, cipher, SECTOR, 0, unlock, fixed)


def _unlock_1(header: Luks1Header, device: BlockDevice, passphrase: bytes) -> bytes | None:
    problem = header.problem(device.size)
    if problem is not None:
        raise LuksUnreadable(problem)
    _require_hash(header.hash)
    return header.key(passphrase, device.read)


# --- version 2 ----------------------------------------------------------------------------------


def _version_2(device: BlockDevice, head: bytes) -> LuksHeader:
    # hdr_size: the binary header, 4096 bytes, and the JSON area together.
    length = int.from_bytes(head[8:16], "big")
    if not _JSON_AT < length <= _MOST_JSON:
        raise LuksUnreadable(f"a header of {length} bytes")
    # Zeros fill the area up to its fixed size.
    text = device.read(_JSON_AT, length - _JSON_AT).split(b"\0")[0]
    metadata = decoded(text, Luks2Metadata)
    segment = metadata.segments.get("0")
    # A re-encryption has two segments, and a border that moves between them.
    if _is_in_transition(metadata) or segment is None or len(metadata.segments) != 1:
        raise InTransition
    if segment.sector_size not in (512, 1024, 2048, 4096):
        raise LuksUnreadable(f"its header is damaged: sectors of {segment.sector_size} bytes")
    if min(int(segment.offset), int(segment.iv_tweak)) < 0:
        raise LuksUnreadable("its header is damaged: a negative number")
    if segment.type != "crypt":
        raise LuksUnreadable(
            f"its data are of the type {segment.type}, which growdisk does not know"
        )
    if len(metadata.keyslots) > _MOST_SLOTS:
        raise LuksUnreadable(f"its header is damaged: {len(metadata.keyslots)} key slots")
    # A digest ties key slots to segments. Slots of another type do not hold a volume key.
    slots = tuple(
        (slot, digest)
        for digest in metadata.digests.values()
        if "0" in digest.segments
        for number in digest.keyslots
        if (slot := metadata.keyslots[number]).type == "luks2"
    )
    return LuksHeader(
        head[168:208].split(b"\0")[0].decode("ascii", "replace"),
        int(segment.offset),
        segment.encryption,
        segment.sector_size,
        int(segment.iv_tweak),
        partial(_unlock_2, slots),
        _why_fixed(segment, metadata),
        measured(metadata.tokens.values()),
    )


def _is_in_transition(metadata: Luks2Metadata) -> bool:
    needs = metadata.config.requirements.mandatory if metadata.config.requirements else ()
    return any("reencrypt" in need for need in needs) or any(
        s.type == "reencrypt" for s in metadata.keyslots.values()
    )


def _why_fixed(segment: Luks2Segment, metadata: Luks2Metadata) -> str:
    if int(segment.offset) == 0:
        return _DETACHED
    if segment.integrity is not None:
        return (
            "it protects the integrity of its data (dm-integrity), for whose tags there is no "
            "room to grow"
        )
    if segment.size != "dynamic":
        return f"its header says that it has {segment.size} bytes, whatever the partition has"
    if metadata.config.requirements is not None:
        return (
            "it needs what growdisk does not know: "
            f"{', '.join(metadata.config.requirements.mandatory)}"
        )
    return ""


def _unlock_2(
    slots: tuple[tuple[Keyslot, Digest], ...], device: BlockDevice, passphrase: bytes
) -> bytes | None:
    # One slot after the other: each may take a second, and the first that opens ends it.
    keys = (_key_in(device, slot, digest, passphrase) for slot, digest in slots)
    return next((key for key in keys if key is not None), None)


def _key_in(device: BlockDevice, slot: Keyslot, digest: Digest, passphrase: bytes) -> bytes | None:
    # From the passphrase to the key of the slot's area, to the stripes in it, to a volume key,
    # which only its digest shows to be the right one.
    stripes, stripe_hash = int(slot.af["stripes"]), str(slot.af["hash"])
    _refuse_excess(slot, digest, stripes)
    area_key = _derive(slot.kdf, passphrase, slot.area.key_size)
    cipher, _, mode = slot.area.encryption.partition("-")
    material = device.read(int(slot.area.offset), align_up(slot.key_size * stripes, SECTOR))
    area_cipher = sector_cipher(cipher, mode, area_key)
    key = key_from(material, area_cipher, slot.key_size, stripes, stripe_hash)
    wanted = base64.b64decode(digest.digest)
    salt = base64.b64decode(digest.salt)
    found = hashlib.pbkdf2_hmac(digest.hash, key, salt, digest.iterations, len(wanted))
    return key if found == wanted else None


def _refuse_excess(slot: Keyslot, digest: Digest, stripes: int) -> None:
    """A header must not keep a processor busy for hours, nor take all memory."""
    rounds = slot.kdf.iterations + digest.iterations + slot.kdf.time
    if not 0 < stripes <= MAX_STRIPES or not 0 < slot.key_size <= _MOST_KEY:
        raise LuksUnreadable("a key slot cannot be true")
    memory = slot.kdf.memory
    if rounds > MAX_ROUNDS or memory > _MOST_MEMORY_KIB or memory * slot.kdf.time > _MOST_WORK_KIB:
        raise LuksUnreadable("a key slot asks for an impossible amount of work")


def _derive(kdf: Kdf, passphrase: bytes, length: int) -> bytes:
    salt = base64.b64decode(kdf.salt)
    if kdf.type == "pbkdf2":
        _require_hash(kdf.hash)
        return hashlib.pbkdf2_hmac(kdf.hash, passphrase, salt, kdf.iterations, length)
    if kdf.type not in ("argon2i", "argon2id"):
        raise LuksUnreadable(f"a key slot uses {kdf.type}, which growdisk does not know")
    try:
        from argon2.low_level import Type, hash_secret_raw
    except ImportError as error:
        raise ToolMissing("the Python library argon2", package="python3-argon2") from error
    kind = Type.ID if kdf.type == "argon2id" else Type.I
    key: bytes = hash_secret_raw(passphrase, salt, kdf.time, kdf.memory, kdf.cpus, length, kind)
    return key


def _require_hash(name: str) -> None:
    try:
        hashlib.new(name)
    except ValueError as error:
        raise LuksUnreadable(
            f"a key slot uses the hash {name}, which this machine's OpenSSL does not know"
        ) from error


# --- the content, decrypted as it is read: for superblocks and metadata, not for bulk -------------


class DecryptedView(ReadOnlyDevice):
    """The decrypted payload; sectors count in units of 512 bytes, even if larger (dm-crypt)."""

    def __init__(self, device: BlockDevice, header: LuksHeader, key: bytes) -> None:
        """UnknownCipher: before anything is read."""
        self._device, self._header, self._key = device, header, key
        self._algorithm, _, self._mode = header.cipher.partition("-")
        self._cipher = sector_cipher(self._algorithm, self._mode, key)
        self.size = align_down(max(device.size - header.payload, 0), header.sector_size)

    def read(self, offset: int, length: int) -> bytes:
        check_range(self.size, offset, length)
        unit = self._header.sector_size
        start, end = align_down(offset, unit), align_up(offset + length, unit)
        # dm-crypt numbers sectors in 512 bytes from the payload's start on, plus the header's
        # offset.
        raw = self._device.read(self._header.payload + start, end - start)
        plain = self._decrypted(start // SECTOR + self._header.iv_start, raw)
        return plain[offset - start : offset - start + length]

    def _decrypted(self, sector: int, raw: bytes) -> bytes:
        unit = self._header.sector_size
        if unit == SECTOR:
            return self._cipher.decrypt(sector, raw)
        # Larger sectors are units of their own: each has the number of its first 512 bytes.
        return b"".join(
            decrypt_unit(
                self._algorithm, self._mode, self._key, sector + at // SECTOR, raw[at : at + unit]
            )
            for at in range(0, len(raw), unit)
        )
