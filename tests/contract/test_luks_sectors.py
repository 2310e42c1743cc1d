"""Containers with large sectors are decrypted as dm-crypt encrypts them, in all known ciphers."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.filesystems.content import LuksContent
from growdisk.guest_systems.look import find_homes
from growdisk.units import MiB
from growdisk.volumes.inspect import InnerLook
from growdisk.volumes.keyring import Keyring
from growdisk.volumes.luks import DecryptedView, LuksUnreadable, read_luks_header
from growdisk.volumes.lvm import PhysicalVolumeFinder
from tests.e2e.process import need
from tests.fuzz.disks.kernel import kernel_on
from tests.guests.tools import run

SIZE = 20 * MiB
CIPHERS = {
    "aes-xts-plain64": 512, "aes-xts-plain": 256, "aes-cbc-essiv:sha256": 256,
    "aes-cbc-plain64": 128,
}  # fmt: skip


def container(folder: Path, *options: str) -> Path:
    """Its passphrase is "secret"."""
    image, key = folder / "luks.raw", folder / "key"
    key.write_bytes(b"secret")
    with image.open("wb") as file:
        file.truncate(SIZE)
    run(
        "cryptsetup", "-q", "luksFormat", "--type", "luks2", "--pbkdf", "pbkdf2",
        "--pbkdf-force-iterations", "1000", *options, image, key,
    )  # fmt: skip
    return image


@pytest.mark.parametrize(
    ("field", "lie"),
    [
        (b'"sector_size":4096', b'"sector_size":0   '),
        (b'"sector_size":4096', b'"sector_size":-512'),
        (b'"sector_size":4096', b'"sector_size":6144'),
        (b'"offset":"16777216"', b'"offset":"-1677721"'),
        (b'"iv_tweak":"0"', b'"iv_tweak":"-1"'),
    ],
)
def test_what_no_container_has_is_unreadable(tmp_path: Path, field: bytes, lie: bytes) -> None:
    image = container(tmp_path, "--sector-size", "4096")
    content = image.read_bytes()
    assert field in content
    image.write_bytes(content.replace(field, lie))
    with closing(RawFile.open(image, writable=False)) as device, pytest.raises(LuksUnreadable):
        read_luks_header(device)


def test_data_in_an_unknown_cipher_stay_closed_although_the_passphrase_fits(tmp_path: Path) -> None:
    image = container(tmp_path)
    # Of each copy of the header the key slot's cipher comes first, then that of the data.
    known, unknown = b'"encryption":"aes-xts', b'"encryption":"abc-xts'
    start, *pieces = image.read_bytes().split(known)
    assert len(pieces) == 4
    ciphers = (known, unknown, known, unknown)
    image.write_bytes(start + b"".join(map(bytes.__add__, ciphers, pieces)))
    with closing(RawFile.open(image, writable=False)) as device:
        assert read_luks_header(device).volume_key(device, b"secret") is not None
        look = find_homes(device, image, keyring=Keyring((b"secret",)))
        content = InnerLook(Keyring((b"secret",)), PhysicalVolumeFinder([])).content(device)
    assert look.closed == {"/dev/sda": "it is encrypted, and no key that was given opens it"}
    assert isinstance(content, LuksContent)
    assert (content.unlocked, content.fixed) == (
        False,
        "growdisk does not know its cipher, abc-xts-plain64",
    )


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("sector_size", [pytest.param(512, marks=pytest.mark.slow), 4096])
def test_what_dm_crypt_writes_is_read(tmp_path: Path, cipher: str, sector_size: int) -> None:
    need("uml")
    image = container(
        tmp_path, "--sector-size", str(sector_size), "--cipher", cipher,
        "--key-size", str(CIPHERS[cipher]),
    )  # fmt: skip
    with closing(RawFile.open(image, writable=False)) as device:
        header = read_luks_header(device)
        volume_key = header.volume_key(device, b"secret")
        assert volume_key is not None
    sectors = (SIZE - header.payload) // 512
    table = (
        f"0 {sectors} crypt {cipher} {volume_key.hex()} 0 /dev/sda {header.payload // 512} 1 "
        f"sector_size:{sector_size}"
    )
    with kernel_on(image) as kernel:
        kernel.must(f"dmsetup create opened --table '{table}'")
        kernel.must(
            "seq 100000 999999 | head -c 98304 | dd of=/dev/mapper/opened conv=fsync && "
            "dmsetup remove opened"
        )
    written = "".join(f"{number}\n" for number in range(100000, 115000)).encode()[:98304]
    with closing(RawFile.open(image, writable=False)) as device:
        view = DecryptedView(device, header, volume_key)
        assert view.read(0, len(written)) == written
        assert view.read(9 * 512 + 7, 5000) == written[9 * 512 + 7 :][:5000]
