"""What names a removed partition in any of a guest's file systems is repaired, or reported."""

from __future__ import annotations

import pytest

from growdisk.units import MiB
from tests.conftest import DiskMaker
from tests.e2e.guest_reading import read
from tests.e2e.process import Host
from tests.guests.content import directory, text
from tests.guests.layouts import Layout
from tests.guests.manifest import as_raw, file_manifest
from tests.guests.small import SWAP_UUID, SmallDisk
from tests.guests.tools import run

UNIT = f"[Unit]\nDescription=swap\n\n[Swap]\nWhat=/dev/disk/by-uuid/{SWAP_UUID}\n"
CRYPTTAB = f"swap UUID={SWAP_UUID} /dev/urandom swap\nhome UUID=1 none luks\n"
FILES = (
    directory("etc/systemd"), directory("etc/systemd/system"), directory("boot/loader"),
    directory("boot/loader/entries"),
    text("etc/systemd/system/dev-sda2.swap", UNIT), text("etc/crypttab", CRYPTTAB),
    text("boot/loader/entries/debian.conf",
        "options root=/dev/sda1 resume=/dev/mapper/swap quiet\n"),
    directory("etc/dracut.conf.d"),
    text("etc/dracut.conf.d/swap.conf", f'add_device+=" UUID={SWAP_UUID} "\n'),
)  # fmt: skip
BACKENDS = ["direct", pytest.param("guestfs", marks=pytest.mark.appliance)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_units_crypttab_loader_entries_and_dracut_forget_the_swap(
    small_disk: DiskMaker, host: Host, backend: str
) -> None:
    image = small_disk(
        "guest.qcow2", SmallDisk(Layout.SWAP_BEHIND, 128 * MiB, 16 * MiB, extra_files=FILES)
    )
    host.backend = backend
    answer = host.growdisk("expand", image, "+64M")
    assert (answer.code, answer.result, answer.document["backend"]) == (0, "changed", backend), (
        answer
    )
    assert read(image, "/etc/systemd/system/dev-sda2.swap") == ""
    assert read(image, "/etc/crypttab") == f"# removed by growdisk: {CRYPTTAB}"
    assert read(image, "/boot/loader/entries/debian.conf") == "options root=/dev/sda1 quiet\n"
    assert read(image, "/etc/dracut.conf.d/swap.conf") == 'add_device+=""\n'
    assert "# removed by growdisk: UUID=" in read(image, "/etc/fstab")


def test_no_guest_repair_leaves_every_file_and_says_so(small_disk: DiskMaker, host: Host) -> None:
    image = small_disk(
        "guest.qcow2", SmallDisk(Layout.SWAP_BEHIND, 128 * MiB, 16 * MiB, extra_files=FILES)
    )
    before = file_manifest(image)
    answer = host.growdisk("expand", image, "+64M", "--no-guest-repair")
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert file_manifest(image) == before
    (note,) = answer.document["notes"]  # type: ignore[misc]
    assert "left alone, as asked" in note
    assert "sda2" in note
    assert [step["name"] for step in answer.document["steps"]][-1] == "grow-filesystem"  # type: ignore[attr-defined]


def test_a_partition_of_unknown_content_grows_on_request_and_the_rest_is_said(
    small_disk: DiskMaker, host: Host
) -> None:
    image = small_disk("guest.qcow2", SmallDisk(Layout.SWAP_BEHIND, 128 * MiB, 16 * MiB))
    with as_raw(image, "qcow2") as raw:
        with raw.open("r+b") as file:
            file.seek(MiB + 1024 + 56)
            file.write(b"\0\0")  # no superblock of ext any more
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image)
    assert host.growdisk("expand", image, "+64M").code == 3
    answer = host.growdisk("expand", image, "+64M", "--partition", "1")
    assert (answer.code, answer.result) == (0, "changed"), answer
    notes = " ".join(answer.document["notes"])  # type: ignore[arg-type]
    assert "sda1 holds unknown content" in notes
    assert "what names sda2 there" in notes
    parts = answer.document["after"]["partitions"]  # type: ignore[index]
    assert [(part["number"], part["size"]) for part in parts] == [(1, 191 * MiB)]
