"""Several systems on a disk, an ostree deployment, a /boot by udev's name: found by reading."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.guest_systems.look import Look, find_homes
from growdisk.units import ByteRange, MiB
from tests.e2e.judges import assert_sound
from tests.e2e.process import Host
from tests.guests.swap import make_swap
from tests.guests.tools import run

SWAP = "4f6d2a90-1b3c-4d5e-8f70-a1b2c3d4e5f6"
LINE = f"UUID={SWAP} none swap sw 0 0\n"
SIZE, STARTS, END = 256 * MiB, {1: MiB, 2: 65 * MiB, 3: 225 * MiB}, 255 * MiB


def disk(path: Path, systems: dict[int, dict[str, str]]) -> Path:
    """MBR: 1 and 2 ext4 with these files, 3 swap."""
    with path.open("wb") as file:
        file.truncate(SIZE)
    lines = [
        f"{n}: start={start // 512}, type={'82' if n == 3 else '83'}" for n, start in STARTS.items()
    ]
    ends = {1: STARTS[2], 2: STARTS[3], 3: END}
    table = "\n".join(
        f"{line}, size={(ends[n] - STARTS[n]) // 512}" for n, line in enumerate(lines, start=1)
    )
    run("sfdisk", "-q", "--no-reread", path, stdin=f"label: dos\nlabel-id: 0x5e7e7a15\n{table}\n")
    make_swap(path, ByteRange(STARTS[3], END), uuid=SWAP)
    for number, files in systems.items():
        root, size = path.parent / f"root{number}", (ends[number] - STARTS[number]) // 1024
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
        run(
            "mke2fs", "-q", "-F", "-t", "ext4", "-d", root, "-E", f"offset={STARTS[number]}", path,
            f"{size}k",
        )  # fmt: skip
    return path


def text_of(image: Path, number: int, name: str) -> str:
    return run("debugfs", "-R", f"cat {name}", f"{image}?offset={STARTS[number]}")


def looked(image: Path) -> Look:
    with closing(RawFile.open(image)) as device:
        return find_homes(device, image)


SYSTEM = {"etc/hostname": "x\n", "usr/x": "", "etc/fstab": f"/dev/sda1 / ext4 defaults 0 1\n{LINE}"}


def test_both_systems_of_a_disk_forget_the_swap(tmp_path: Path, host: Host) -> None:
    image = disk(
        tmp_path / "two.raw",
        {1: SYSTEM, 2: SYSTEM | {"boot/grub/grub.cfg": f"linux /v resume=UUID={SWAP}\n"}},
    )
    answer = host.growdisk("expand", image, "+64M")
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert_sound(image)
    for number in (1, 2):
        assert f"# removed by growdisk: {LINE}" in text_of(image, number, "/etc/fstab")
    assert text_of(image, 2, "/boot/grub/grub.cfg") == "linux /v\n"


def test_a_deployment_of_ostree_is_a_system_and_forgets_the_swap(
    tmp_path: Path, host: Host
) -> None:
    etc = "ostree/deploy/x/deploy/0a1b.0/etc"
    files = {f"{etc}/fstab": f"LABEL=r / ext4 defaults 0 1\n{LINE}", f"{etc}/hostname": "x\n"}
    entry = {"boot/loader.1/entries/ostree-1-x.conf": f"options ostree=/x resume=UUID={SWAP}\n"}
    image = disk(tmp_path / "ostree.raw", {1: {"x": ""}, 2: files | entry})
    assert [home.root.node for home in looked(image).systems] == ["/dev/sda2"]
    answer = host.growdisk("expand", image, "+64M")
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert f"# removed by growdisk: {LINE}" in text_of(image, 2, f"/{etc}/fstab")
    assert text_of(image, 2, "/boot/loader.1/entries/ostree-1-x.conf") == "options ostree=/x\n"


@pytest.mark.parametrize(
    "name",
    ["/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:0:0-part1", "/dev/disk/by-id/wwn-0x5000-part1",
        "/dev/nvme0n1p1",
     "PARTUUID=5e7e7a15-01", "PARTUUID=5E7E7A15-01"],
)  # fmt: skip
def test_a_boot_of_its_own_is_found_by_whatever_name_it_has(tmp_path: Path, name: str) -> None:
    fstab = f"/dev/disk/by-uuid/1 / ext4 defaults 0 1\n{name} /boot ext4 defaults 0 2\n"
    image = disk(
        tmp_path / "boot.raw",
        {1: {"grub/grub.cfg": ""}, 2: {"etc/fstab": fstab, "boot/.keep": "", "usr/x": ""}},
    )
    (home,) = looked(image).homes
    assert [(mount.place, mount.node) for mount in home.mounts] == [
        ("/", "/dev/sda2"),
        ("/boot", "/dev/sda1"),
    ]
    assert home.strange == ()


def test_a_boot_on_another_disk_keeps_the_swap(tmp_path: Path, host: Host) -> None:
    fstab = (
        "/dev/sda2 / ext4 defaults 0 1\n/dev/disk/by-id/ata-OTHER-part9 /boot ext4 defaults "
        f"0 2\n{LINE}"
    )
    image = disk(
        tmp_path / "other.raw", {1: {"x": ""}, 2: SYSTEM | {"etc/fstab": fstab, "boot/.keep": ""}}
    )
    answer = host.growdisk("plan", image, "+64M")
    assert answer.code == 0, answer
    assert "swap is moved, not given up" in str(answer.document["notes"])
    assert "ata-OTHER-part9" in str(answer.document["notes"])


def test_an_fstab_that_leads_into_the_store_of_nixos_keeps_the_swap(
    tmp_path: Path, host: Host
) -> None:
    store = {
        "nix/store/1-fstab": f"/dev/sda2 / ext4 defaults 0 1\n{LINE}",
        "usr/x": "",
        "etc/hostname": "x\n",
    }
    (tmp_path / "root2" / "etc").mkdir(parents=True)
    (tmp_path / "root2" / "etc" / "fstab").symlink_to("/nix/store/1-fstab")
    image = disk(tmp_path / "nixos.raw", {1: {"x": ""}, 2: store})
    answer = host.growdisk("expand", image, "+64M")
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert "/etc/fstab: it is a link" in str(answer.document["notes"])
    assert text_of(image, 2, "/nix/store/1-fstab") == store["nix/store/1-fstab"]
    assert [part["number"] for part in answer.document["after"]["partitions"]] == [1, 2, 3]  # type: ignore[index]


def test_what_crypttab_opened_from_the_swap_is_searched_for_after_its_line_is_gone(
    tmp_path: Path, host: Host
) -> None:
    opened = {
        "etc/crypttab": "cs /dev/sda3 /dev/urandom swap\n",
        "etc/init.d/x": "swapon /dev/mapper/cs\n",
    }
    image = disk(tmp_path / "opened.raw", {1: {"x": ""}, 2: SYSTEM | opened})
    # Nobody can tell what the script does without it: the plan says so, and keeps the swap.
    (note,) = host.growdisk("plan", image, "+64M").document["notes"]  # type: ignore[misc]
    assert "swap is moved, not given up" in str(note)
    assert "/etc/init.d/x: names it, and growdisk does not know what it is for" in str(note)
    answer = host.growdisk("expand", image, "+64M", "--swap", "drop")
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert "WARNING" in str(answer.document["notes"])
    assert text_of(image, 2, "/etc/crypttab").startswith("# removed by growdisk: cs")
    assert "still named in /etc/init.d/x" in str(answer.document["steps"])
