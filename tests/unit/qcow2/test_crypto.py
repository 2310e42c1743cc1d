"""Sector ciphers against the library's own XTS, and LUKS headers against tampering."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from growdisk.block.sector_cipher import UnknownCipher, sector_cipher
from growdisk.errors import ImageDamaged, ImageUnsupported, WrongKey
from growdisk.qcow2.encryption import luks_header_of, new_luks, unlock

NAME = Path("image")


@pytest.mark.parametrize("length", [32, 64])
def test_many_sectors_at_once_are_what_the_library_makes_of_each(length: int) -> None:
    chance = random.Random(length)
    key, data = chance.randbytes(length), chance.randbytes(512 * 9)
    first = (1 << 33) + 5
    wanted = b"".join(
        Cipher(algorithms.AES(key), modes.XTS(struct.pack("<QQ", first + n, 0)))
        .encryptor()
        .update(data[512 * n : 512 * n + 512])
        for n in range(9)
    )
    cipher = sector_cipher("aes", "xts-plain64", key)
    assert cipher.encrypt(first, data) == wanted
    assert cipher.decrypt(first, wanted) == data
    assert cipher.decrypt(first + 3, wanted[3 * 512 : 4 * 512]) == data[3 * 512 : 4 * 512]


def test_without_libcrypto_the_same_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    key, data = bytes(range(64)), random.Random(1).randbytes(512 * 130)
    fast = sector_cipher("aes", "xts-plain64", key)
    monkeypatch.setattr("growdisk.block.sector_cipher._LIBRARIES", ("libnothing.so.1",))
    slow = sector_cipher("aes", "xts-plain64", key)
    assert type(fast) is not type(slow)
    assert fast.encrypt(77, data) == slow.encrypt(77, data)
    assert fast.decrypt(77, data) == slow.decrypt(77, data)


def test_a_key_that_libcrypto_refuses_still_opens_an_image() -> None:
    """Both halves alike: OpenSSL 3 takes it for decryption alone."""
    cipher, data = sector_cipher("aes", "xts-plain64", bytes(64)), b"sixteen bytes ok" * 64
    assert cipher.decrypt(0, cipher.encrypt(0, data)) == data


@pytest.mark.parametrize("mode", ["cbc-plain", "cbc-plain64", "cbc-essiv:sha256", "xts-plain"])
def test_every_mode_gives_back_what_it_took_and_depends_on_the_sector(mode: str) -> None:
    cipher, data = sector_cipher("aes", mode, bytes(range(32))), b"sixteen bytes ok" * 96
    there = cipher.encrypt(7, data)
    assert cipher.decrypt(7, there) == data
    assert there[:512] != there[512:1024] != cipher.encrypt(9, data)[512:1024]


@pytest.mark.parametrize(
    ("algorithm", "mode", "bits"),
    [
        ("serpent", "xts-plain64", 512),
        ("aes", "ecb", 256),
        ("aes", "xts-plain64", 384),
        ("aes", "cbc-essiv:sha1", 256),
    ],
)
def test_other_ciphers_are_named_and_refused(algorithm: str, mode: str, bits: int) -> None:
    with pytest.raises(UnknownCipher):
        sector_cipher(algorithm, mode, bytes(bits // 8))


def test_the_passphrase_gives_the_same_key_and_another_one_none() -> None:
    blob = new_luks(b"secret", 0.001)

    def read(offset: int, length: int) -> bytes:
        return blob[offset : offset + length]

    header = luks_header_of(read, len(blob), NAME)
    one, two = unlock(header, [b"secret"], read, NAME), unlock(header, [b"secret"], read, NAME)
    assert one.encrypt(1, bytes(512)) == two.encrypt(1, bytes(512))
    with pytest.raises(WrongKey):
        unlock(header, [b"Secret"], read, NAME)


@pytest.mark.parametrize(
    ("position", "value", "error"),
    [
        (0, b"LUKSxx", ImageDamaged),
        (6, b"\0\2", ImageDamaged),
        (8, b"twofish\0", ImageUnsupported),
        (72, b"md99\0\0\0", ImageUnsupported),
        (108, struct.pack(">I", 1 << 31), ImageUnsupported),
        (164, struct.pack(">I", 1 << 31), ImageDamaged),
        (208 + 4, struct.pack(">I", 1 << 31), ImageDamaged),
        (208 + 40, struct.pack(">I", 1 << 31), ImageDamaged),
        (208 + 44, struct.pack(">I", 1 << 31), ImageDamaged),
    ],
)
def test_a_header_that_would_cost_hours_or_gigabytes_is_refused(
    position: int, value: bytes, error: type
) -> None:
    blob = bytearray(new_luks(b"secret", 0.001))
    blob[position : position + len(value)] = value
    with pytest.raises(error):
        luks_header_of(
            lambda offset, length: bytes(blob[offset : offset + length]), len(blob), NAME
        )


@pytest.mark.parametrize("active", [4, 8])
def test_the_rounds_of_the_digest_count_for_each_slot_that_may_have_to_be_tried(
    active: int,
) -> None:
    blob = bytearray(new_luks(b"secret", 0.001))
    slot = blob[208 : 208 + 48]
    blob[208 : 208 + 48 * active] = slot * active
    blob[164:168] = struct.pack(">I", 1 << 23)

    def read(offset: int, length: int) -> bytes:
        return bytes(blob[offset : offset + length])

    if active == 4:
        assert len(luks_header_of(read, len(blob), NAME).active_slots) == active
        return
    with pytest.raises(ImageDamaged, match="impossible number of rounds"):
        luks_header_of(read, len(blob), NAME)
