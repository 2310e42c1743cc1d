"""Ciphers for many 512-byte sectors at once: AES in XTS and CBC mode, IVs by sector number.

One call per sector into a library costs more than the encryption. So a whole range goes through
plain AES in one call, and what makes it XTS or CBC is XORed in as one large number. Two calls a
sector into the system's libcrypto are three times as quick; it is there wherever Python's own ssl
works. Follows IEEE 1619 (XTS) and dm-crypt's names of IV generators (plain, plain64, essiv). The
sole `import cryptography`.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
from array import array
from collections.abc import Callable
from typing import Protocol

from growdisk.errors import ToolMissing

try:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
except ImportError as error:
    raise ToolMissing("the Python library cryptography", package="python3-cryptography") from error

SECTOR = 512
_WORDS = SECTOR // 8
_BLOCKS = SECTOR // 16
_Ivs = Callable[[int, int], bytes]  # (first sector, sectors) -> 16 bytes for each
_LIBRARIES = ("libcrypto.so.3", "libcrypto.so.1.1")


class UnknownCipher(ValueError):
    """The name of a cipher, mode or IV generator that growdisk does not know."""


class SectorCipher(Protocol):
    """Works on whole sectors; `sector` is the number of the first."""

    def encrypt(self, sector: int, data: bytes) -> bytes: ...

    def decrypt(self, sector: int, data: bytes) -> bytes: ...


def sector_cipher(algorithm: str, mode: str, key: bytes) -> SectorCipher:
    """By dm-crypt's names: ("aes", "xts-plain64"), ("aes", "cbc-essiv:sha256"), ...

    UnknownCipher for others.
    """
    chaining, ivs = _chaining(algorithm, mode, key)
    if chaining == "cbc":
        return _Cbc(key, ivs)
    try:
        return _FastXts(key, ivs)
    except (OSError, ValueError):  # no libcrypto, or a key with equal halves, which it refuses
        return _Xts(key, ivs)


def decrypt_unit(algorithm: str, mode: str, key: bytes, sector: int, unit: bytes) -> bytes:
    """One unit of any size, as dm-crypt has them with sectors larger than 512 bytes.

    `sector` counts in 512 bytes all the same. UnknownCipher as in sector_cipher().
    """
    chaining, ivs = _chaining(algorithm, mode, key)
    iv = ivs(sector, 1)
    chained = modes.XTS(iv) if chaining == "xts" else modes.CBC(iv)
    return Cipher(algorithms.AES(key), chained).decryptor().update(unit)


def _chaining(algorithm: str, mode: str, key: bytes) -> tuple[str, _Ivs]:
    chaining, _, generator = mode.partition("-")
    if algorithm != "aes" or chaining not in ("xts", "cbc"):
        raise UnknownCipher(f"{algorithm}-{mode}")
    # XTS has two keys of one length.
    lengths = (32, 64) if chaining == "xts" else (16, 24, 32)
    if len(key) not in lengths:
        raise UnknownCipher(f"{algorithm}-{mode} with {8 * len(key)} bits")
    return chaining, _iv_generator(generator, key)


def _iv_generator(name: str, key: bytes) -> _Ivs:
    if name in ("plain", "plain64"):
        # plain wraps after 2^32 sectors, which is 2 TiB; plain64 was made because of that.
        mask = (1 << (32 if name == "plain" else 64)) - 1
        return lambda sector, count: _numbers(sector, count, mask)
    kind, _, digest = name.partition(":")
    if (
        kind != "essiv"
        or digest not in hashlib.algorithms_available
        or hashlib.new(digest).digest_size not in (16, 32)
    ):
        raise UnknownCipher(f"IV generator {name}")
    # ESSIV: the sector's number, encrypted with a hash of the key.
    salted = _Aes(hashlib.new(digest, key).digest())
    plain = _iv_generator("plain64", key)
    return lambda sector, count: salted.encrypt(plain(sector, count))


def _numbers(sector: int, count: int, mask: int) -> bytes:
    """The numbers of `count` sectors from `sector` on, in 16 bytes each."""
    ivs = array("Q", bytes(16 * count))
    ivs[0::2] = array("Q", [number & mask for number in range(sector, sector + count)])
    if sys.byteorder == "big":
        ivs.byteswap()
    return ivs.tobytes()


class _Aes:
    """Block after block, without any chaining."""

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())

    def encrypt(self, data: bytes) -> bytes:
        return self._cipher.encryptor().update(data)

    def decrypt(self, data: bytes) -> bytes:
        return self._cipher.decryptor().update(data)


class _FastXts:
    """Sector by sector, if the system's libcrypto can be called."""

    def __init__(self, key: bytes, ivs: _Ivs) -> None:
        self.encrypt = _XtsSectors(key, ivs, encrypt=True)
        self.decrypt = _XtsSectors(key, ivs, encrypt=False)


class _XtsSectors:
    """One direction of AES-XTS with one key (of both halves), 512 bytes at a time."""

    def __init__(self, key: bytes, ivs: _Ivs, *, encrypt: bool) -> None:
        """OSError if there is no such library, ValueError if it refuses the key."""
        self._lib, self._ivs = _library(), ivs
        # XTS has two keys of one length: 64 bytes are AES-256, 32 are AES-128.
        name = "EVP_aes_256_xts" if len(key) == 64 else "EVP_aes_128_xts"
        self._context = self._lib.EVP_CIPHER_CTX_new()
        cipher, start = getattr(self._lib, name)(), self._lib.EVP_CipherInit_ex
        if start(self._context, cipher, None, key, None, int(encrypt)) != 1:
            raise ValueError("libcrypto does not take this key for XTS")

    def __del__(self) -> None:
        if context := getattr(self, "_context", None):
            self._lib.EVP_CIPHER_CTX_free(context)

    def __call__(self, sector: int, data: bytes) -> bytes:
        """OSError if libcrypto fails, which it has no reason to."""
        ivs = self._ivs(sector, len(data) // SECTOR)
        result, written = ctypes.create_string_buffer(len(data)), ctypes.c_int()
        source = ctypes.create_string_buffer(data, len(data))
        iv = ctypes.create_string_buffer(ivs, len(ivs))
        start = self._lib.EVP_CipherInit_ex
        length = ctypes.addressof(written)
        update = self._lib.EVP_CipherUpdate
        into = ctypes.addressof(result)
        out_of = ctypes.addressof(source)
        next_iv = ctypes.addressof(iv)
        for offset in range(0, len(data), SECTOR):
            # Only the IV is new: None leaves cipher and key, -1 the direction.
            good = start(self._context, None, None, None, next_iv, -1)
            if (
                good != 1
                or update(self._context, into + offset, length, out_of + offset, SECTOR) != 1
            ):
                raise OSError("libcrypto failed")
            next_iv += 16
        return result.raw


def _library() -> ctypes.PyDLL:
    """Called without letting go of the interpreter: that would take longer than a sector does."""
    for name in _LIBRARIES:
        try:
            library = ctypes.PyDLL(name)
            break
        except OSError:
            continue
    else:
        raise OSError("there is no libcrypto")
    pointer, number = ctypes.c_void_p, ctypes.c_int
    for function in ("EVP_CIPHER_CTX_new", "EVP_aes_128_xts", "EVP_aes_256_xts"):
        getattr(library, function).restype = pointer
    library.EVP_CIPHER_CTX_free.argtypes = [pointer]
    library.EVP_CipherInit_ex.argtypes = [pointer, pointer, pointer, pointer, pointer, number]
    library.EVP_CipherUpdate.argtypes = [pointer, pointer, pointer, pointer, number]
    return library


class _Xts:
    """C = E(P ^ T) ^ T: T is the encrypted IV, doubled for each further block of a sector."""

    def __init__(self, key: bytes, ivs: _Ivs) -> None:
        half = len(key) // 2
        self._data, self._tweak, self._ivs = _Aes(key[:half]), _Aes(key[half:]), ivs

    def encrypt(self, sector: int, data: bytes) -> bytes:
        return self._masked(self._data.encrypt, sector, data)

    def decrypt(self, sector: int, data: bytes) -> bytes:
        return self._masked(self._data.decrypt, sector, data)

    def _masked(self, through_aes: Callable[[bytes], bytes], sector: int, data: bytes) -> bytes:
        mask = self._mask(sector, len(data) // SECTOR)
        inner = (int.from_bytes(data, "little") ^ mask).to_bytes(len(data), "little")
        return (int.from_bytes(through_aes(inner), "little") ^ mask).to_bytes(len(data), "little")

    def _mask(self, sector: int, count: int) -> int:
        """T of every block: all sectors' first ones as lanes of one number, doubled 31 times."""
        lanes = int.from_bytes(self._tweak.encrypt(self._ivs(sector, count)), "little")
        ones = int.from_bytes((b"\1" + bytes(15)) * count, "little")
        tops = ones << 127
        mask = array("Q", bytes(SECTOR * count))
        for block in range(_BLOCKS):
            # Block `block` of every sector: two words of 8 bytes, one sector's words apart.
            words = array("Q", lanes.to_bytes(16 * count, "little"))
            mask[2 * block :: _WORDS], mask[2 * block + 1 :: _WORDS] = words[0::2], words[1::2]
            # Doubled in GF(2^128): the bit that falls out comes back as x^7 + x^2 + x + 1.
            carries = lanes >> 127 & ones
            lanes = (lanes & ~tops) << 1 ^ carries * 0x87
        return int.from_bytes(mask.tobytes(), "little")


class _Cbc:
    """C = E(P ^ the block before), with the IV before a sector's first block."""

    def __init__(self, key: bytes, ivs: _Ivs) -> None:
        self._key, self._aes, self._ivs = key, _Aes(key), ivs

    def encrypt(self, sector: int, data: bytes) -> bytes:
        # A block needs the encrypted one before it, so one call takes one sector. Decrypting has
        # all blocks at hand and takes one call for everything.
        return b"".join(
            self._encrypt_one(sector + number, data[number * SECTOR : (number + 1) * SECTOR])
            for number in range(len(data) // SECTOR)
        )

    def decrypt(self, sector: int, data: bytes) -> bytes:
        # Each block's predecessor: the data one block later, with an IV in front of each sector.
        before = array("Q", bytes(16) + data[:-16])
        ivs = array("Q", self._ivs(sector, len(data) // SECTOR))
        before[0::_WORDS], before[1::_WORDS] = ivs[0::2], ivs[1::2]
        return _xor(self._aes.decrypt(data), before.tobytes())

    def _encrypt_one(self, sector: int, data: bytes) -> bytes:
        cipher = Cipher(algorithms.AES(self._key), modes.CBC(self._ivs(sector, 1)))
        return cipher.encryptor().update(data)


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "little") ^ int.from_bytes(other, "little")).to_bytes(
        len(one), "little"
    )
