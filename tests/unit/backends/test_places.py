"""Each place where a guest may name a partition: before, after, and what is left and reported."""

from __future__ import annotations

import gzip

import pytest

from growdisk.fast_dataclass import replace
from growdisk.guest_config import places
from growdisk.guest_config.files import Change
from growdisk.guest_config.removed_partition import SwapRemedy
from growdisk.guest_config.repair import repair_guest
from growdisk.guest_scripts.render import _places
from tests.unit.backends.gone_swap import (
    CLEAN,
    DEPLOYED,
    FSTAB,
    GONE,
    IN_THE_STORE,
    OPTIONS,
    PARTUUID,
    SWAP,
    SWAP_UNIT,
    UUID,
)
from tests.unit.backends.memory_files import Files

_MENDED = [
    ("/etc/fstab", f"{FSTAB}PARTUUID={PARTUUID} none swap sw",
        f"{FSTAB}{GONE}PARTUUID={PARTUUID} none swap sw"),
    ("/etc/fstab", f"{FSTAB}PARTLABEL=Swap\\040space swap swap",
        f"{FSTAB}{GONE}PARTLABEL=Swap\\040space swap swap"),
    ("/etc/fstab", f"{FSTAB}/dev/disk/by-partlabel/Swap\\134x20space none swap sw",
     f"{FSTAB}{GONE}/dev/disk/by-partlabel/Swap\\134x20space none swap sw"),
    (f"{DEPLOYED}/fstab", f"LABEL=old none swap sw 0 0\n{FSTAB}",
        f"{GONE}LABEL=old none swap sw 0 0\n{FSTAB}"),
    ("/etc/crypttab", f"s PARTUUID={PARTUUID} /dev/urandom swap\nr LABEL=r none\n",
     f"{GONE}s PARTUUID={PARTUUID} /dev/urandom swap\nr LABEL=r none\n"),
    ("/etc/crypttab.initramfs", "s /dev/vda7 /dev/urandom swap",
        f"{GONE}s /dev/vda7 /dev/urandom swap"),
    ("/etc/systemd/system/dev-vda7.swap", SWAP_UNIT, ""),
    ("/usr/lib/systemd/system/dev-vda7.swap", SWAP_UNIT, ""),
    ("/usr/local/lib/systemd/system/dev-vda7.swap", SWAP_UNIT, ""),
    ("/etc/systemd/system/dev-nvme0n1p7.swap", "[Unit]\nDescription=x\n[Swap]\nPriority=3\n", ""),
    ("/etc/systemd/system/dev-disk-by\\x2dpartlabel-Swap\\x5cx20space.swap",
        "[Swap]\nOptions=discard\n", ""),
    ("/etc/systemd/system/a.swap", f"[Swap]\r\nWhat=UUID={UUID}\r\n", ""),
    ("/etc/systemd/system/a.service", "[Unit]\nAfter=x.target dev-disk-by\\x2dlabel-old.swap\n",
     "[Unit]\nAfter=x.target\n"),
    ("/etc/systemd/system/a.service.d/b.conf", "[Unit]\nRequires=dev-vda7.device",
     f"[Unit]\n{GONE}Requires=dev-vda7.device"),
    ("/etc/initramfs-tools/initramfs.conf", f"A=b\nRESUME=PARTUUID={PARTUUID}\n",
        "A=b\nRESUME=none\n"),
    ("/etc/initramfs-tools/conf.d/hibernate", f"RESUME=/dev/disk/by-uuid/{UUID}\n",
        "RESUME=none\n"),
    ("/etc/initramfs-tools/conf.d/resume", 'RESUME=PARTLABEL="Swap space"\n', "RESUME=none\n"),
    ("/etc/initramfs-tools/conf.d/resume", "RESUME=PARTLABEL=Swap\\ space\n", "RESUME=none\n"),
    ("/etc/dracut.conf.d/r.conf", "add_device=/dev/disk/by-label/old\n", "add_device=\n"),
    ("/etc/dracut.conf", f'kernel_cmdline+=" {OPTIONS} "', f'kernel_cmdline+=" {CLEAN} "'),
    ("/etc/dracut.conf.d/r.conf", f'add_device+=" /dev/disk/by-partuuid/{PARTUUID} "',
        'add_device+=""'),
    ("/etc/default/grub", f'GRUB_CMDLINE_LINUX="{OPTIONS}"\n', f'GRUB_CMDLINE_LINUX="{CLEAN}"\n'),
    ("/etc/default/grub", f'GRUB_CMDLINE_LINUX="quiet resume=\\"UUID={UUID}\\" splash"\n',
     'GRUB_CMDLINE_LINUX="quiet splash"\n'),
    ("/boot/grub/grub.cfg",
        'linux /v resume="PARTLABEL=Swap space" ro\nlinux /v "resume=PARTLABEL=Swap space" ro\n',
     'linux /v ro\nlinux /v "" ro\n'),
    ("/boot/grub/custom.cfg", "linux /v resume=/dev/disk/by-partlabel/Swap\\\\x20space ro\n",
        "linux /v ro\n"),
    ("/boot/grub/user.cfg", "linux /v resume=PARTLABEL=Swap\\x20space ro\n", "linux /v ro\n"),
    ("/boot/uEnv.txt", f"bootargs=root=LABEL=r resume=UUID={UUID};x\n",
        "bootargs=root=LABEL=r;x\n"),
    ("/boot/limine.conf", f"cmdline: real_resume=UUID={UUID} rd.luks.options={UUID}=discard ro\n",
        "cmdline: ro\n"),
    ("/etc/default/grub.d/50-cloud.cfg", f"GRUB_CMDLINE_LINUX='resume=UUID={UUID}'\n",
        "GRUB_CMDLINE_LINUX=''\n"),
]  # fmt: skip
_MENDED += [
    (path, OPTIONS, CLEAN)
    for path in (
        "/etc/grub.d/40_custom",
        "/etc/kernel/cmdline",
        "/usr/lib/kernel/cmdline",
        "/etc/kernel/cmdline.d/r.conf",
        "/etc/kernel/uki.conf",
        "/etc/elilo.conf",
        "/etc/cmdline.d/resume.conf",
        "/etc/default/u-boot",
        "/etc/default/extlinux",
        "/etc/update-extlinux.conf",
        "/etc/zipl.conf",
        "/etc/lilo.conf",
        "/etc/default/kexec",
        "/etc/sysconfig/bootloader",
        "/etc/extlinux.conf",
        "/boot/grub/grub.cfg",
        "/boot/grub/custom.cfg",
        "/boot/grub2/grub.cfg",
        "/boot/grub2/user.cfg",
        "/boot/grub/menu.lst",
        "/boot/efi/EFI/redhat/grub.cfg",
        "/efi/EFI/fedora/grub.cfg",
        "/boot/loader/entries/1-2.conf",
        "/boot/loader.1/entries/ostree-1.conf",
        "/boot/efi/loader/entries/a.conf",
        "/efi/loader/entries/a.conf",
        "/boot/extlinux.conf",
        "/boot/extlinux/linux.cfg",
        "/boot/extlinux/extlinux.conf",
        "/boot/syslinux/syslinux.cfg",
        "/boot/efi/EFI/syslinux/syslinux.cfg",
        "/boot/isolinux/isolinux.cfg",
        "/boot/refind_linux.conf",
        "/boot/efi/EFI/refind/refind.conf",
        "/boot/firmware/cmdline.txt",
        "/boot/armbianEnv.txt",
        "/boot/limine.conf",
        "/boot/grub/x86_64-efi/grub.cfg",
        "/boot/efi/EFI/BOOT/grub.cfg",
        "/boot/loader/grub.cfg",
        "/boot/uEnv/uEnv.txt",
        "/boot/boot.ini",
        "/boot/efi/startup.nsh",
        "/boot/menu.lst",
        "/boot/zipl.conf",
        "/boot/firmware/extlinux/extlinux.conf",
        "/extlinux.conf",
        "/syslinux/syslinux.cfg",
        "/etc/sysconfig/grub",
        "/etc/sysconfig/sdbootutil",
        "/etc/default/limine",
        "/etc/default/grub.d/x.cfg",
        "/etc/zipl.conf.d/x.conf",
        "/etc/kernel/install.conf",
        "/etc/sdboot-manage.conf.d/x.conf",
        "/etc/limine-entry-tool.d/x.conf",
        "/etc/conf.d/kexec",
        "/etc/u-boot-menu/conf.d/x.conf",
        "/etc/tuned/bootcmdline",
        "/etc/genkernel.conf",
        "/usr/share/u-boot-menu/conf.d/x.conf",
        "/usr/lib/bootc/kargs.d/x.toml",
        "/etc/kernelstub/configuration",
    )
]


@pytest.mark.parametrize(("path", "before", "after"), _MENDED, ids=[path for path, *_ in _MENDED])
def test_a_place_that_names_the_swap_no_longer_does(path: str, before: str, after: str) -> None:
    files = Files(**{"/etc/hostname": "guest\n", path: before, f"/srv{path}": before})
    changes = repair_guest(files, SWAP, SwapRemedy.DROP)
    assert files.contents[path].decode() == after
    assert [(change.path, change.mended) for change in changes] == [(path, True)]
    assert files.contents[f"/srv{path}"].decode() == before


@pytest.mark.parametrize("folder", ["/boot/grub", "/boot/grub2", "/boot/efi/EFI/rocky"])
def test_an_environment_block_of_grub_keeps_its_size(folder: str) -> None:
    block = f"# GRUB Environment Block\nkernelopts={OPTIONS}\n".ljust(1024, "#")
    files = Files(**{"/etc/hostname": "guest\n", f"{folder}/grubenv": block})
    repair_guest(files, SWAP, SwapRemedy.DROP)
    after = files.contents[f"{folder}/grubenv"].decode()
    assert len(after) == 1024
    assert after.rstrip("#") == f"# GRUB Environment Block\nkernelopts={CLEAN}\n"


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/etc/crypttab", "s /dev/disk/by-id/ata-SOME_DISK_123-part7 /dev/urandom swap\n"),
        (
            "/etc/systemd/system/x.swap",
            "[Swap]\nWhat=/dev/disk/by-path/pci-0000:00:1f.2-ata-1-part7\n",
        ),
        ("/etc/initramfs-tools/conf.d/resume", "RESUME=/dev/disk/by-id/wwn-0x5000c500-part7\n"),
        (
            "/etc/default/grub",
            'GRUB_CMDLINE_LINUX="resume=/dev/disk/by-id/ata-SOME_DISK_123-part7"\n',
        ),
        ("/boot/loader/entries/a.conf", "options resume=/dev/disk/by-id/ata-SOME_DISK_123-part7\n"),
        ("/boot/loader/entries/b.conf", "options resume=/dev/disk/azure/root-part7\n"),
        ("/etc/fstab", f"{FSTAB}/dev/disk/cloud/azure_root-part7 none swap sw 0 0\n"),
        ("/etc/fstab", f"{FSTAB}/dev/disk/by-diskseq/1-part7 none swap sw 0 0\n"),
        ("/etc/fstab", f"{FSTAB}/dev/mapper/mpatha-part7 none swap sw 0 0\n"),
        ("/boot/loader/entries/c.conf", "options resume=/dev/mapper/mpatha-part7\n"),
        ("/etc/fstab", f"{FSTAB}/dev/disk/by-id/dm-name-mpatha-part7 none swap sw 0 0\n"),
        ("/etc/dracut.conf.d/r.conf", 'add_device+=" /dev/disk/by-id/ata-SOME_DISK_123-part7 "\n'),
    ],
)
def test_the_same_partition_of_some_disk_is_left_and_said(path: str, content: str) -> None:
    files = Files(**{"/etc/fstab": FSTAB} | {path: content})
    (change,) = repair_guest(files, SWAP, SwapRemedy.DROP)
    assert (change.path, change.mended, change.waits) == (path, False, True)
    assert "-part7" in change.what
    assert files.writes == []


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (
            "/etc/fstab",
            f"{FSTAB}LABEL=d /data ext4 x-systemd.requires=/dev/disk/by-uuid/{UUID} 0 2\n",
        ),
        ("/etc/crypttab", f"data LABEL=d /key:UUID={UUID} luks\n"),
        ("/boot/grub/grub.cfg", f"linux /v root=LABEL=r crypt_swap=UUID={UUID}\n"),
        ("/etc/default/grub", f'SWAP={UUID}\nGRUB_CMDLINE_LINUX="resume=UUID=$SWAP"\n'),
        ("/etc/systemd/system/s.service", f"[Service]\nExecStart=/sbin/swapon -U {UUID}\n"),
    ],
)
def test_a_place_that_names_it_in_an_unknown_way_is_left_and_said_to_wait(
    path: str, content: str
) -> None:
    files = Files(**{"/etc/fstab": FSTAB} | {path: content})
    (change,) = repair_guest(files, SWAP, SwapRemedy.DROP)
    assert (change.path, change.mended, change.waits) == (path, False, True)
    assert files.writes == []


def test_the_service_that_opened_it_is_named_in_what_requires_it() -> None:
    unit = "[Unit]\nRequires=systemd-cryptsetup@crypt\\x2dswap.service\n"
    files = Files(
        **{
            "/etc/crypttab": "crypt-swap /dev/vda7 /dev/urandom swap\n",
            "/etc/systemd/system/a.service": unit,
        }
    )
    found = repair_guest(files, SWAP, SwapRemedy.DROP)
    assert [(change.path, change.waits) for change in found] == [
        ("/etc/systemd/system/a.service", True),
        ("/etc/crypttab", False),
    ]


@pytest.mark.parametrize("folder", ["/etc", "/usr/local/lib", "/usr/lib"])
def test_the_automount_unit_of_what_is_gone_is_masked_in_whichever_folder(folder: str) -> None:
    mount = "/usr/lib/systemd/system/data.mount"
    automount = f"{folder}/systemd/system/data.automount"
    other = "/etc/systemd/system/other.automount"
    units = {
        mount: f"[Mount]\nWhat=UUID={UUID}\nWhere=/data\n",
        automount: "[Automount]\n",
        other: "[Automount]\n",
    }
    files = Files(**{"/etc/fstab": FSTAB, **units})
    assert repair_guest(files, SWAP, SwapRemedy.DROP) == (
        Change(mount, "masked"),
        Change(automount, "masked"),
    )
    assert (files.contents[automount], files.contents[other]) == (b"", b"[Automount]\n")


@pytest.mark.parametrize("path", ["/etc/repart.d/50-swap.conf", "/usr/lib/repart.d/50-swap.conf"])
def test_a_definition_by_which_swap_would_be_made_again_is_named(path: str) -> None:
    other = "/usr/lib/repart.d/10-root.conf"
    files = Files(
        **{
            "/etc/fstab": FSTAB,
            path: "[Partition]\nType=swap\n",
            other: "[Partition]\nType=root\n# Type=swap\n",
        }
    )
    (change,) = repair_guest(files, SWAP, SwapRemedy.DROP)
    assert (change.path, change.mended, change.waits) == (path, False, True)
    assert repair_guest(files, replace(SWAP, is_swap=False), SwapRemedy.DROP) == ()


def test_partitions_of_other_numbers_and_comments_are_no_doubt() -> None:
    line = (
        "# /dev/disk/by-id/ata-X-part7\ns /dev/disk/by-id/ata-X-part77 none\nt "
        "/dev/disk/by-id/ata-X-part1 none\n"
    )
    assert (
        repair_guest(Files(**{"/etc/fstab": FSTAB, "/etc/crypttab": line}), SWAP, SwapRemedy.DROP)
        == ()
    )


class Linked(Files):
    """/etc/fstab and /etc/crypttab are links into a store, as NixOS has them."""

    def glob(self, pattern: str) -> list[str]:
        return [
            path for path in super().glob(pattern) if path not in ("/etc/fstab", "/etc/crypttab")
        ]


def test_an_fstab_that_is_a_link_is_named_and_not_changed() -> None:
    files = Linked(
        **{
            "/etc/fstab": f"{FSTAB}UUID={UUID} none swap sw 0 0\n",
            "/etc/crypttab": "s LABEL=old none\n",
        }
    )
    changes = repair_guest(files, SWAP, SwapRemedy.DROP)
    assert {(change.path, change.mended, change.waits) for change in changes} == {
        ("/etc/fstab", False, True),
        ("/etc/crypttab", False, True),
    }
    assert all(IN_THE_STORE in change.what for change in changes)
    assert files.writes == []
    assert repair_guest(Linked(**{"/etc/fstab": FSTAB}), SWAP, SwapRemedy.DROP) == ()


@pytest.mark.parametrize("path", ["/boot/firmware/kernel8.img", "/boot/vmlinux.img"])
def test_a_packed_kernel_is_not_taken_for_an_initrd(path: str) -> None:
    kernel = gzip.compress(b"\0" * 56 + b"ARMd" + bytes(4000))
    files = Files(**{"/etc/fstab": FSTAB, "/usr/sbin/update-initramfs": "", path: kernel})
    assert repair_guest(files, SWAP, SwapRemedy.DROP) == ()
    assert files.contents[path] == kernel


@pytest.mark.parametrize(
    "path", ["/boot/kernels/0a1b-initrd-linux-6.6-initrd", "/efi/EFI/nixos/0a1b-initrd.efi"]
)
def test_an_initrd_is_known_by_any_name_that_says_so(path: str) -> None:
    inside = b"070701" + b"0" * 88 + b"%08X" % 11 + b"0" * 8 + b"TRAILER!!!\0"
    files = Files(**{"/etc/fstab": FSTAB, "/usr/sbin/update-initramfs": "", path: inside})
    assert repair_guest(files, SWAP, SwapRemedy.DROP) == (
        Change(path, "stale RESUME inside cleared"),
    )


def test_a_running_guest_looks_at_the_same_places() -> None:
    running = _places()
    assert running["settings"].split() == list(places.SETTINGS)
    assert running["loader_files"].split() == [*places.LOADER_FILES, *places.GRUB_ENVIRONMENTS]
    assert running["initrds"].split() == list(places.INITRDS)
    assert {"/etc/fstab", "/etc", *places.BOOTS} <= set(running["searched"].split())


@pytest.mark.parametrize("number", ["8:5", "254:7", "PARTUUID=0f0f-01/PARTNROFF=4"])
def test_a_kernel_option_by_a_devices_number_is_left_and_said(number: str) -> None:
    entry = f"options root=LABEL=r resume={number} quiet\n"
    files = Files(
        **{
            "/etc/fstab": FSTAB,
            "/boot/loader/entries/a.conf": entry,
            "/etc/kernel/cmdline": "noresume=8:5",
        }
    )
    (change,) = repair_guest(files, SWAP, SwapRemedy.DROP)
    assert (change.path, change.mended) == ("/boot/loader/entries/a.conf", False)
    assert change.waits is True
    assert number in change.what


def test_a_file_in_utf_16_is_left_and_said() -> None:
    """As the shell and the editor of EFI write it."""
    line = f"vmlinuz root=LABEL=r resume=UUID={SWAP.uuid}\r\n"
    script, other = line.encode("utf-16"), line.replace(SWAP.uuid or "", "x").encode("utf-16")
    files = Files(**{"/etc/fstab": FSTAB, "/efi/startup.nsh": script, "/efi/a.nsh": other})
    (change,) = repair_guest(files, SWAP, SwapRemedy.DROP)
    assert (change.path, change.mended, change.waits) == ("/efi/startup.nsh", False, True)
    assert files.contents["/efi/startup.nsh"] == script
