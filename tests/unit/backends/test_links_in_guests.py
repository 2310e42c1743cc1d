"""Links within a guest: two ways to one file, links in a circle or to nowhere; NixOS and ostree."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from growdisk.block.raw import RawFile
from growdisk.guest_config.removed_partition import SwapRemedy
from growdisk.guest_systems.home_repair import HomeRepair, obstacles, repairs_of
from growdisk.guest_systems.look import find_homes
from tests.unit.backends.ext4_guests import RESUME, SWAP, UUID, guest_on_ext4, packed

OPTIONS = f"options root=LABEL=r resume=UUID={UUID}\n"


ENTRIES = [f"/boot/loader/entries/nixos-generation-{number}.conf" for number in (3, 4)]


def seen(
    folder: Path, files: dict[str, bytes | str], links: dict[str, str]
) -> tuple[list[HomeRepair], list[str]]:
    """What is to be done, and what stands against it."""
    image = guest_on_ext4(folder, files, links)
    with closing(RawFile.open(image)) as disk:
        look = find_homes(disk, image)
        repairs = repairs_of(look, "/dev/sda", [(SWAP, SwapRemedy.DROP)])
        return repairs, obstacles(look, repairs)


def test_a_file_that_two_paths_lead_to_is_mended_once(tmp_path: Path) -> None:
    initrd = "/boot/ostree/fedora-0/initramfs-6.img"
    files: dict[str, bytes | str] = {
        "/boot/loader.1/entries/ostree-1.conf": OPTIONS,
        "/ostree/deploy/fedora/deploy/0.0/etc/fstab": "#\n",
        initrd: packed(tmp_path, RESUME),
    }  # fmt: skip
    links = {
        "/boot/loader": "loader.1",
        "/boot/now": "ostree/fedora-0",
        "/ostree/boot.1": "boot.1.1",
    }
    ((repair,), _) = seen(tmp_path, files, links)
    entry, block = repair.changes
    assert entry.path == "/boot/loader.1/entries/ostree-1.conf"
    assert block.path in (initrd, "/boot/now/initramfs-6.img")
    assert {len(prefix) for prefix in repair.pending.prefixes.values()} == {4096}


def test_links_in_a_circle_and_to_nowhere_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    links = {
        "/boot/efi": "efi",
        "/boot/grub2": "../nowhere",
        "/boot/initrd.img": "gone",
        "/etc/crypttab": "/etc/crypttab",
    }
    repairs, against = seen(tmp_path, {"/boot/grub/grub.cfg": OPTIONS}, links)
    assert against == []
    assert [change.path for change in repairs[0].changes] == ["/boot/grub/grub.cfg"]


def test_an_fstab_in_the_store_of_nixos_is_an_obstacle_while_its_loader_entries_are_mended(
    tmp_path: Path,
) -> None:
    files: dict[str, bytes | str] = {
        "/nix/store/0-etc/etc/fstab": (
            f"LABEL=r / ext4\n/dev/disk/by-uuid/{UUID} none swap defaults\n"
        ),
        **dict.fromkeys(ENTRIES, OPTIONS),
    }
    repairs, (obstacle,) = seen(
        tmp_path, files, {"/etc/fstab": "/etc/static/fstab", "/etc/static": "/nix/store/0-etc/etc"}
    )
    assert obstacle.startswith("/etc/fstab: it is a link and stays")
    assert [change.path for change in repairs[0].changes if change.mended] == ENTRIES


def test_several_kernels_have_each_its_initrd_mended(tmp_path: Path) -> None:
    initrd = packed(tmp_path, RESUME)
    names = (
        "initrd.img-5.10.0-28-amd64",
        "initrd.img-6.1.0-56-amd64",
        "initrd.img-6.1.0-56-amd64.old-dkms",
    )
    files: dict[str, bytes | str] = {f"/boot/{name}": initrd for name in names}
    files["/usr/sbin/update-initramfs"] = ""
    repairs, _ = seen(
        tmp_path, files, {"/boot/initrd.img": names[1], "/initrd.img.old": f"boot/{names[0]}"}
    )
    assert sorted(repairs[0].pending.prefixes) == sorted(f"/boot/{name}" for name in names)
