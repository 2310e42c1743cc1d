"""Guests unlike the installer's: unified kernels, dracut, separate EFI partitions, more disks."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from growdisk.guest_config.initrd import forgets, is_initrd
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.guest_config.repair import repair_guest
from tests.unit.backends.memory_files import Files
from tests.unit.backends.unified_images import unified

UUID = "0b6d1c5e-7f2a-4c3b-8d9e-1a2b3c4d5e6f"
SWAP = RemovedPartition(number=3, uuid=UUID)
FSTAB = f"UUID=1 / ext4 defaults 0 1\nUUID={UUID} none swap sw 0 0\n"


def archive(folder: Path, files: dict[str, str]) -> bytes:
    """As the kernel unpacks it, made by cpio and gzip."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    names = "\n".join(files)
    made = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"],
        input=names.encode(),
        cwd=folder,
        stdout=subprocess.PIPE,
        check=True,
    )
    return gzip.compress(made.stdout)


def test_the_command_line_of_a_unified_kernel_no_longer_names_the_swap() -> None:
    files = Files(
        **{
            "/etc/fstab": FSTAB,
            "/efi/EFI/Linux/a.efi": unified(f"root=UUID=1 resume=UUID={UUID} quiet"),
        }
    )
    before = files.contents["/efi/EFI/Linux/a.efi"]
    changes = repair_guest(files, SWAP, SwapRemedy.DROP)
    after = files.contents["/efi/EFI/Linux/a.efi"]
    assert [(change.path, change.mended) for change in changes] == [
        ("/etc/fstab", True),
        ("/efi/EFI/Linux/a.efi", True),
    ]
    assert len(after) == len(before)
    assert after[1024:].rstrip(b"\0").split() == [b"root=UUID=1", b"quiet"]
    assert repair_guest(files, SWAP, SwapRemedy.DROP) == ()


def test_every_profile_of_a_unified_kernel_has_its_command_line_changed() -> None:
    image = unified(
        "root=UUID=1 quiet", f"resume=UUID={UUID} rescue", f"a resume=/dev/disk/by-uuid/{UUID}"
    )
    files = Files(**{"/etc/fstab": FSTAB, "/efi/EFI/Linux/a.efi": image})
    assert repair_guest(files, SWAP, SwapRemedy.DROP)[-1].mended
    texts = files.contents["/efi/EFI/Linux/a.efi"][1024:]
    assert [texts[at : at + 512].rstrip(b"\0").split() for at in (0, 512, 1024)] == [
        [b"root=UUID=1", b"quiet"],
        [b"rescue"],
        [b"a"],
    ]
    assert repair_guest(files, SWAP, SwapRemedy.DROP) == ()


def test_a_signed_unified_kernel_is_left_and_said_to_wait() -> None:
    files = Files(
        **{"/etc/fstab": FSTAB, "/efi/EFI/Linux/a.efi": unified(f"resume=UUID={UUID}", signed=True)}
    )
    before = files.contents["/efi/EFI/Linux/a.efi"]
    change = repair_guest(files, SWAP, SwapRemedy.DROP)[-1]
    assert (change.mended, change.waits, "signed" in change.what) == (False, True, True)
    assert files.contents["/efi/EFI/Linux/a.efi"] == before


def test_an_initrd_of_dracut_that_has_resume_within_is_told_noresume(tmp_path: Path) -> None:
    inside = {
        "etc/cmdline.d/01-default.conf": f"resume=UUID={UUID}\n",
        "lib/dracut/modules.txt": "resume\n",
    }
    files = Files(
        **{
            "/etc/fstab": FSTAB,
            "/usr/lib/dracut/x": "",
            "/boot/initramfs-6.img": archive(tmp_path, inside),
        }
    )
    change = repair_guest(files, SWAP, SwapRemedy.DROP)[-1]
    after = files.contents["/boot/initramfs-6.img"]
    assert (change.path, change.mended) == ("/boot/initramfs-6.img", True)
    assert is_initrd(after) and forgets(after[:65536], SWAP)
    listed = subprocess.run(
        ["cpio", "-t", "--quiet"], input=after, stdout=subprocess.PIPE, check=True
    ).stdout.decode()
    assert "etc/cmdline.d/zzz-growdisk" in listed
    assert repair_guest(files, SWAP, SwapRemedy.DROP) == ()


def test_an_initrd_of_dracut_that_waits_by_a_hook_is_named_with_the_command(tmp_path: Path) -> None:
    inside = {
        "lib/dracut/hooks/initqueue/finished/devexists.sh": f"[ -e /dev/disk/by-uuid/{UUID} ]\n"
    }
    files = Files(
        **{
            "/etc/fstab": FSTAB,
            "/usr/lib/dracut/x": "",
            "/boot/initramfs-6.img": archive(tmp_path, inside),
        }
    )
    change = repair_guest(files, SWAP, SwapRemedy.DROP)[-1]
    assert (change.mended, change.waits, "dracut -f" in change.what) == (False, True, True)


def test_an_efi_partition_that_no_fstab_names_is_mended_at_its_own_top() -> None:
    files = Files(**{"/loader/entries/a.conf": f"options root=UUID=1 resume=UUID={UUID}\n"})
    (change,) = repair_guest(files, SWAP, SwapRemedy.DROP, plain_initrds=True)
    assert change.path == "/loader/entries/a.conf"
    assert files.contents[change.path] == b"options root=UUID=1\n"


def test_the_third_partition_of_some_other_disk_stays_and_is_said() -> None:
    line = "/dev/disk/by-path/pci-0000:00:1f.2-ata-9-part3 none swap sw 0 0\n"
    files = Files(**{"/etc/fstab": FSTAB + line})
    changes = repair_guest(files, SWAP, SwapRemedy.DROP)
    assert files.contents["/etc/fstab"].decode().endswith(f"\n{line}")
    assert [(change.mended, change.waits) for change in changes] == [(True, False), (False, False)]


@pytest.mark.parametrize("named", [UUID, "0a0a0a0a-7f2a-4c3b-8d9e-1a2b3c4d5e6f"])
def test_an_initrd_that_is_wrapped_for_u_boot_is_named_if_it_names_the_swap(
    tmp_path: Path, named: str
) -> None:
    inside = archive(
        tmp_path, {"scripts/functions": "", "conf/conf.d/resume": f"RESUME=UUID={named}\n"}
    )
    # As mkimage -A arm64 -T ramdisk writes it: magic, ..., system, machine, kind, packing, name.
    wrapped = (
        bytes.fromhex("27051956")
        + bytes(24)
        + bytes([5, 22, 3, 1])
        + b"uInitrd".ljust(32, b"\0")
        + inside
    )
    files = Files(
        **{"/etc/fstab": "", "/usr/sbin/update-initramfs": "", "/boot/uInitrd-6.1": wrapped}
    )
    changes = repair_guest(files, SWAP, SwapRemedy.DROP)
    assert [(change.path, change.mended, change.waits) for change in changes] == (
        [("/boot/uInitrd-6.1", False, True)] if named == UUID else []
    )
    assert all("update-initramfs -u" in change.what for change in changes)
    assert files.writes == []


@pytest.mark.parametrize(
    "place",
    [
        "/boot/a.efi",
        "/efi/EFI/a.efi",
        "/boot/EFI/EFI/Linux/a.efi",
        "/efi/EFI/Linux/a.efi.extra.d/b.addon.efi",
    ],
)
def test_a_unified_kernel_is_found_at_any_depth_of_an_efi_partition(place: str) -> None:
    files = Files(**{"/etc/fstab": "", place: unified(f"root=UUID=1 resume=UUID={UUID}")})
    assert [
        (change.path, change.mended) for change in repair_guest(files, SWAP, SwapRemedy.DROP)
    ] == [(place, True)]
