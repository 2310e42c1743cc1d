"""Swap with a random key, named by crypttab alone: given up, or moved with its names."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.conftest import DiskMaker
from tests.e2e.guest_reading import read
from tests.e2e.judges import assert_sound, sfdisk
from tests.e2e.process import Host
from tests.guests.content import Entry, text
from tests.guests.layouts import Layout
from tests.guests.manifest import as_raw
from tests.guests.small import SIGNATURES, SmallDisk
from tests.guests.tools import run

PARTUUID = f"{SIGNATURES['dos'].removeprefix('0x')}-02"
LINE = f"cswap PARTUUID={PARTUUID} /dev/urandom swap,cipher=aes-xts-plain64,size=256\n"
FSTAB = "/dev/sda1 / ext4 defaults 0 1\n/dev/mapper/cswap none swap sw 0 0\n"


def guest(small_disk: DiskMaker, crypttab: str = LINE, *, has_header: bool = False) -> Path:
    files: tuple[Entry, ...] = (text("etc/crypttab", crypttab), text("etc/fstab", FSTAB))
    image = small_disk(
        "guest.qcow2", SmallDisk(Layout.SWAP_BEHIND, 128 * MiB, 16 * MiB, extra_files=files)
    )
    if has_header:
        return image
    with as_raw(image, "qcow2") as raw:
        start = next(
            int(part["start"]) * 512 for part in sfdisk(raw) if str(part["node"]).endswith("2")
        )
        with raw.open("r+b") as file:
            file.seek(start)
            file.write(bytes(range(1, 256)) * 64)
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image)
    return image


def parts_of(image: Path) -> dict[str, int]:
    with as_raw(image, "qcow2") as raw:
        return {str(part["node"])[-1]: int(part["start"]) for part in sfdisk(raw)}


def test_it_is_given_up_with_its_lines_in_crypttab_and_fstab(
    small_disk: DiskMaker, host: Host
) -> None:
    image = guest(small_disk)
    answer = host.growdisk("expand", image, "+64M")
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert_sound(image)
    assert set(parts_of(image)) == {"1"}
    assert read(image, "/etc/crypttab") == f"# removed by growdisk: {LINE}"
    assert (
        read(image, "/etc/fstab").splitlines()[1]
        == f"# removed by growdisk: {FSTAB.splitlines()[1]}"
    )


def test_it_is_moved_with_its_number_and_without_a_header(
    small_disk: DiskMaker, host: Host
) -> None:
    image = guest(small_disk)
    before = parts_of(image)
    answer = host.growdisk("expand", image, "+64M", "--swap", "move")
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert_sound(image)
    after = parts_of(image)
    assert set(after) == {"1", "2"}
    assert after["2"] > before["2"]
    assert read(image, "/etc/crypttab") == LINE
    assert read(image, "/etc/fstab") == FSTAB
    with as_raw(image, "qcow2") as raw, raw.open("rb") as file:
        file.seek(after["2"] * 512)
        assert b"SWAP" not in file.read(8192)


def test_it_does_not_become_a_file_that_is_not_encrypted(small_disk: DiskMaker, host: Host) -> None:
    answer = host.growdisk("expand", guest(small_disk), "+64M", "--swap", "file")
    assert answer.code == 3, answer
    assert "random key" in str(answer.document)


def test_nor_does_one_that_keeps_a_header_before_what_is_encrypted(
    small_disk: DiskMaker, host: Host
) -> None:
    # As ecryptfs-setup-swap makes it, so that it has a UUID.
    crypttab = LINE.replace("swap,", "swap,offset=1024,")
    image = guest(small_disk, crypttab, has_header=True)
    answer = host.growdisk("plan", image, "+64M", "--swap", "file")
    assert answer.code == 3, answer
    assert "random key" in str(answer.document)


@pytest.mark.parametrize(
    "crypttab",
    [f"data PARTUUID={PARTUUID} /root/key luks\n", f"# {LINE}",
        f"data PARTUUID={PARTUUID} /dev/urandom tmp\n",
     f"s PARTUUID={PARTUUID} /dev/urandom swap\nd PARTUUID={PARTUUID} none luks\n",
     "s /dev/disk/by-id/ata-OTHER-part2 /dev/urandom swap\n"],
)  # fmt: skip
def test_other_encrypted_content_still_needs_consent(
    small_disk: DiskMaker, host: Host, crypttab: str
) -> None:
    answer = host.growdisk("plan", guest(small_disk, crypttab), "+64M")
    assert answer.code == 3, answer
    assert "--delete 2" in str(answer.document)
