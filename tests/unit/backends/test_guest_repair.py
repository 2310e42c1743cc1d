"""The files of a guest whose swap partition is gone: what changes, and that nothing else does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from growdisk.guest_config.boot_settings import resume_none, without_resume_option
from growdisk.guest_config.etc_tables import without_swap
from growdisk.guest_config.files import Change
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.guest_config.repair import left_to_repair, repair_guest
from tests.unit.backends.memory_files import INSTALLER_FSTAB, UUID, Files, guest

SWAP = RemovedPartition(
    number=5,
    uuid=UUID,
    label="my swap",
    partuuid="1a2b3c4d-05",
    partlabel="swap",
    stems=("by-path/pci-0000:00:07.0-scsi-0:0:0:0", "by-id/ata-QEMU_HARDDISK_QM00001"),
)


@pytest.mark.parametrize(
    "source",
    [
        f"UUID={UUID}", f"UUID={UUID.upper()}", f'UUID="{UUID}"', f"UUID='{UUID}'",
        f'"UUID={UUID}"',
        r"LABEL=my\040swap", r'LABEL="my\040swap"', "PARTUUID=1a2b3c4d-05", "PARTLABEL=swap",
        "/dev/sda5", "/dev/vda5", "/dev/xvda5", "/dev/nvme0n1p5",
        f"/dev/disk/by-uuid/{UUID}", r"/dev/disk/by-label/my\x20swap",
        "/dev/disk/by-partuuid/1a2b3c4d-05",
        "/dev/disk/by-path/pci-0000:00:07.0-scsi-0:0:0:0-part5",
        "/dev/disk/by-id/ata-QEMU_HARDDISK_QM00001-part5",
    ],
)  # fmt: skip
def test_the_swap_is_found_by_every_name_it_can_have(source: str) -> None:
    line = f"{source}\tnone\tswap\tsw\t0 0"
    assert without_swap(line, SWAP, SwapRemedy.DROP) == f"# removed by growdisk: {line}"
    assert without_swap(line, SWAP, SwapRemedy.FILE) == "/swapfile\tnone\tswap\tsw\t0 0"


@pytest.mark.parametrize(
    "line",
    [
        "UUID=99999999-5b7d-4c88-9a10-0c2d4e6f8a1b none swap sw 0 0", "/dev/sdb5 none swap sw 0 0",
        "/dev/sda15 none swap sw 0 0", "/dev/zram0 none swap sw 0 0", "/swap.img none swap sw 0 0",
        "/dev/disk/by-path/pci-0000:00:07.0-scsi-0:0:0:0-part15 none swap sw 0 0",
        "LABEL=other none swap sw 0 0",
        f"#UUID={UUID} none swap sw 0 0", f"  # UUID={UUID} none swap sw 0 0", "", "   ",
        "/dev/sda5",
        "#VAGRANT-BEGIN", "#VAGRANT-END", "192.168.121.1:/srv /vagrant nfs vers=3,tcp 0 0",
    ],
)  # fmt: skip
def test_other_lines_are_left_alone(line: str) -> None:
    for policy in SwapRemedy:
        assert without_swap(line, SWAP, policy) == line


def test_an_unlabelled_swap_is_not_taken_for_one_with_an_empty_label() -> None:
    bare = RemovedPartition(number=5)
    for line in (
        "UUID= none swap sw 0 0",
        "LABEL= none swap sw 0 0",
        "PARTLABEL= none swap sw 0 0",
    ):
        assert without_swap(line, bare, SwapRemedy.DROP) == line


def test_the_rest_of_fstab_is_kept_byte_for_byte() -> None:
    expected = INSTALLER_FSTAB.replace(
        f"UUID={UUID} none", f"# removed by growdisk: UUID={UUID} none"
    )
    assert without_swap(INSTALLER_FSTAB, SWAP, SwapRemedy.DROP) == expected


def test_a_missing_last_newline_and_windows_line_ends_stay() -> None:
    text = f"/dev/sda1 / ext4 defaults 0 1\r\nUUID={UUID} none swap sw 0 0"
    assert (
        without_swap(text, SWAP, SwapRemedy.FILE)
        == "/dev/sda1 / ext4 defaults 0 1\r\n/swapfile none swap sw 0 0"
    )


def test_of_two_lines_of_the_same_swap_one_becomes_the_swap_file() -> None:
    text = f"/dev/sda5 none swap sw 0 0\nUUID={UUID} none swap sw,pri=2 0 0\n"
    after = (
        f"/swapfile none swap sw 0 0\n# removed by growdisk: UUID={UUID} none swap sw,pri=2 0 0\n"
    )
    assert without_swap(text, SWAP, SwapRemedy.FILE) == after


def test_a_swap_file_that_is_there_already_is_not_named_twice() -> None:
    text = "/swapfile none swap sw 0 0\n/dev/sda5 none swap sw 0 0\n"
    after = "/swapfile none swap sw 0 0\n# removed by growdisk: /dev/sda5 none swap sw 0 0\n"
    assert without_swap(text, SWAP, SwapRemedy.FILE) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"RESUME=UUID={UUID}\n", "RESUME=none\n"),
        (f'RESUME="UUID={UUID}"  # installer\n', "RESUME=none  # installer\n"),
        ("export RESUME=/dev/sda5", "export RESUME=none"),
        ("RESUME=auto\n", "RESUME=auto\n"),
        ("RESUME=none\n", "RESUME=none\n"),
        ("RESUME=/dev/mapper/vg-swap\n", "RESUME=/dev/mapper/vg-swap\n"),
        (f"#RESUME=UUID={UUID}\n", f"#RESUME=UUID={UUID}\n"),
        ("MODULES=most\nBUSYBOX=auto\n", "MODULES=most\nBUSYBOX=auto\n"),
    ],
)
def test_resume_becomes_none_only_where_it_names_the_swap(before: str, after: str) -> None:
    assert resume_none(before, SWAP) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f'GRUB_CMDLINE_LINUX="net.ifnames=0 resume=UUID={UUID} quiet"',
            'GRUB_CMDLINE_LINUX="net.ifnames=0 quiet"'),
        (f'GRUB_CMDLINE_LINUX="resume=UUID={UUID}  quiet"', 'GRUB_CMDLINE_LINUX="quiet"'),
        (f'GRUB_CMDLINE_LINUX="resume=UUID={UUID}"', 'GRUB_CMDLINE_LINUX=""'),
        ("GRUB_CMDLINE_LINUX=resume=/dev/sda5", "GRUB_CMDLINE_LINUX="),
        ("\tlinux\t/boot/vmlinuz root=UUID=1 ro resume=/dev/sda5 resume_offset=0 quiet",
         "\tlinux\t/boot/vmlinuz root=UUID=1 ro quiet"),
        ("options root=UUID=1 ro resume=PARTUUID=1a2b3c4d-05\n", "options root=UUID=1 ro\n"),
        ("resume=/dev/sda5 root=/dev/sda1 resume=/dev/vda5 resume=/dev/sda5", "root=/dev/sda1"),
        ("linux /vmlinuz resume=/dev/mapper/vg-swap quiet",
            "linux /vmlinuz resume=/dev/mapper/vg-swap quiet"),
        ("linux /vmlinuz resume=/dev/sdb1 resume_offset=5",
            "linux /vmlinuz resume=/dev/sdb1 resume_offset=5"),
        ("linux /vmlinuz noresume nosplash.resume=/dev/sda5",
            "linux /vmlinuz noresume nosplash.resume=/dev/sda5"),
        ("\tset resume=/dev/sda5\n\tset resume=\n", "\tset resume=\n\tset resume=\n"),
        ('if [ x ]; then set  resume="/dev/sda5"; fi', "if [ x ]; then set  resume=; fi"),
        ("export resume=/dev/sda5", "export resume="),
        ("linux /v resume resume=/dev/sda5 noresume", "linux /v resume noresume"),
        ("# resume=/dev/sda5 is set by the installer",
            "# resume=/dev/sda5 is set by the installer"),
    ],
)  # fmt: skip
def test_the_kernel_is_no_longer_told_to_resume_from_the_swap(before: str, after: str) -> None:
    assert without_resume_option(before, SWAP) == after


def test_a_repaired_guest_names_its_old_swap_nowhere() -> None:
    files = guest()
    report = repair_guest(files, SWAP, SwapRemedy.DROP)
    assert report == (
        Change("/etc/fstab", "swap line made a comment"),
        Change("/etc/initramfs-tools/conf.d/resume", "RESUME=none"),
        Change("/etc/default/grub", "resume= removed"),
        Change("/boot/grub/grub.cfg", "resume= removed"),
        Change("/boot/grub2/grubenv", "resume= removed"),
        Change("/boot/initrd.img-6.1", "stale RESUME inside cleared"),
    )
    assert files.contents["/etc/fstab"].endswith(b"# caf\xe9 in latin-1\n")
    assert files.contents["/boot/initrd.img-6.1"].endswith(b"\x1f\x8b compressed")
    assert len(files.contents["/boot/grub2/grubenv"]) == 1024
    assert b"quiet\n##" in files.contents["/boot/grub2/grubenv"]


@pytest.mark.parametrize("policy", SwapRemedy)
def test_repairing_twice_changes_nothing_more(policy: SwapRemedy) -> None:
    files = guest()
    repair_guest(files, SWAP, policy)
    files.writes.clear()
    assert repair_guest(files, SWAP, policy) == ()
    assert files.writes == []


def test_looking_for_what_is_left_to_repair_writes_nothing_and_names_the_same_changes() -> None:
    files = guest()
    left = left_to_repair(files, SWAP, SwapRemedy.DROP)
    assert files.writes == []
    assert left == repair_guest(files, SWAP, SwapRemedy.DROP)
    assert left_to_repair(files, SWAP, SwapRemedy.DROP) == ()


def test_a_guest_that_names_its_swap_nowhere_has_only_its_initrds_secured() -> None:
    files = guest()
    other = replace(SWAP, uuid="0" * 8, number=7)
    assert [change.path for change in repair_guest(files, other, SwapRemedy.DROP)] == [
        "/boot/initrd.img-6.1"
    ]


def test_an_initrd_that_cannot_be_looked_into_is_left_alone_and_named() -> None:
    files = Files(**{"/etc/fstab": INSTALLER_FSTAB, "/boot/initrd.img-5": b"\x1f\x8b compressed"})
    fstab, initrd = repair_guest(files, SWAP, SwapRemedy.DROP)
    assert (fstab.path, fstab.mended) == ("/etc/fstab", True)
    assert (initrd.path, initrd.mended, initrd.waits) == ("/boot/initrd.img-5", False, True)
    assert files.contents["/boot/initrd.img-5"] == b"\x1f\x8b compressed"


# --- all else that may name a partition ---------------------------------------------------------

HOME = RemovedPartition(number=3, uuid=UUID, label="home", partuuid="1a2b3c4d-03", is_swap=False)
CRYPT = (
    "sda5_crypt /dev/sda5 /dev/urandom cipher=aes-xts-plain64,size=256,swap\nroot UUID=1 none "
    "luks\n"
)


def test_a_mount_of_a_partition_that_was_given_up_does_not_end_the_boot_in_an_emergency_shell() -> (
    None
):
    line = f"UUID={UUID} /home ext4 defaults 0 2\n"
    files = Files(
        **{"/etc/fstab": "/dev/sda1 / ext4 defaults 0 1\n" + line, "/etc/initramfs-tools/x": ""}
    )
    assert repair_guest(files, HOME, SwapRemedy.DROP) == (
        Change("/etc/fstab", "line made a comment"),
    )
    assert (
        files.contents["/etc/fstab"].decode()
        == f"/dev/sda1 / ext4 defaults 0 1\n# removed by growdisk: {line}"
    )
    assert repair_guest(files, HOME, SwapRemedy.DROP) == ()


def test_what_crypttab_makes_of_the_partition_is_forgotten_with_it() -> None:
    files = Files(
        **{
            "/boot/initrd.img-6.1": b"\x1f\x8b",
            "/etc/crypttab": CRYPT,
            "/etc/fstab": "/dev/mapper/sda5_crypt none swap sw 0 0\n",
            "/etc/initramfs-tools/conf.d/resume": "RESUME=/dev/mapper/sda5_crypt\n",
        }
    )
    gone = RemovedPartition(number=5, is_swap=False)
    left = left_to_repair(files, gone, SwapRemedy.DROP)
    assert left == repair_guest(files, gone, SwapRemedy.DROP)
    resume = "/etc/initramfs-tools/conf.d/resume"
    assert [change.path for change in left] == [
        "/etc/fstab",
        resume,
        "/boot/initrd.img-6.1",
        "/etc/crypttab",
    ]
    assert b"/dev/mapper/sda5_crypt" in files.contents["/boot/initrd.img-6.1"]
    assert files.contents["/etc/crypttab"].decode() == f"# removed by growdisk: {CRYPT}"
    assert files.contents["/etc/fstab"].startswith(b"# removed by growdisk: /dev/mapper/sda5_crypt")
    assert files.contents["/etc/initramfs-tools/conf.d/resume"] == b"RESUME=none\n"
    assert left_to_repair(files, gone, SwapRemedy.DROP) == ()


def test_units_of_systemd_that_swap_on_or_mount_it_are_masked_and_others_stay() -> None:
    units = {
        "/etc/systemd/system/dev-sda5.swap": f"[Swap]\nWhat=/dev/disk/by-uuid/{UUID}\n",
        "/etc/systemd/system/srv.mount": "[Mount]\nWhat=/dev/sda6\nWhere=/srv\n",
    }
    files = Files(**units)
    assert repair_guest(files, SWAP, SwapRemedy.DROP) == (
        Change("/etc/systemd/system/dev-sda5.swap", "masked"),
    )
    assert files.contents["/etc/systemd/system/dev-sda5.swap"] == b""
    assert (
        files.contents["/etc/systemd/system/srv.mount"]
        == units["/etc/systemd/system/srv.mount"].encode()
    )


def test_a_swap_file_is_used_also_where_no_line_of_fstab_named_the_swap() -> None:
    files = Files(**{"/etc/fstab": "/dev/sda1 / ext4 defaults 0 1"})
    repair_guest(files, SWAP, SwapRemedy.FILE)
    assert (
        files.contents["/etc/fstab"]
        == b"/dev/sda1 / ext4 defaults 0 1\n/swapfile none swap sw 0 0\n"
    )
    assert left_to_repair(files, SWAP, SwapRemedy.FILE) == ()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"options root=/dev/sda1 resume=UUID={UUID} quiet", "options root=/dev/sda1 quiet"),
        (f"linux /v root=/dev/sda1 rd.luks.uuid=luks-{UUID} ro", "linux /v root=/dev/sda1 ro"),
        (f"linux /v rd.luks.name={UUID}=swap rd.luks.uuid=other", "linux /v rd.luks.uuid=other"),
        ("linux /v rd.lvm.lv=vg/swap rd.lvm.lv=vg/root", "linux /v rd.lvm.lv=vg/root"),
        ("linux /v resume=/dev/mapper/vg-swap ro", "linux /v ro"),
        (f"linux /v cryptopts=target=s,source=UUID={UUID},luks ro", "linux /v ro"),
        (f"linux /v cryptopts=target=r,source=UUID=other root=UUID={UUID}",
         f"linux /v cryptopts=target=r,source=UUID=other root=UUID={UUID}"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "path", ["/boot/loader/entries/arch.conf", "/efi/loader/entries/a.conf", "/boot/grub/grub.cfg"]
)
def test_no_boot_loader_has_the_kernel_wait_for_what_was_in_it(
    path: str, before: str, after: str
) -> None:
    files = Files(**{path: before})
    repair_guest(
        files, replace(SWAP, mapped=("/dev/vg/swap", "/dev/mapper/vg-swap")), SwapRemedy.DROP
    )
    assert files.contents[path].decode() == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f'kernel_cmdline+=" resume=UUID={UUID} quiet "', 'kernel_cmdline+=" quiet "'),
        (f'add_device+=" /dev/disk/by-uuid/{UUID} "', 'add_device+=""'),
        (f'add_device+=" /dev/sdb1 UUID={UUID} " # swap', 'add_device+=" /dev/sdb1 " # swap'),
        ('add_device+=" /dev/sdb1 "', 'add_device+=" /dev/sdb1 "'),
        (f"# add_device+=' UUID={UUID} '", f"# add_device+=' UUID={UUID} '"),
    ],
)
def test_dracuts_configuration_no_longer_looks_for_it(before: str, after: str) -> None:
    files = Files(**{"/etc/dracut.conf.d/swap.conf": before})
    repair_guest(files, SWAP, SwapRemedy.DROP)
    assert files.contents["/etc/dracut.conf.d/swap.conf"].decode() == after


def test_initrds_of_dracut_are_named_with_what_to_do_about_them() -> None:
    files = Files(
        **{"/usr/lib/dracut/dracut-functions.sh": "", "/boot/initramfs-6.1.img": b"\x1f\x8b"}
    )
    (said,) = repair_guest(files, SWAP, SwapRemedy.DROP)
    assert (said.path, said.mended) == ("/boot/initramfs-6.1.img", False)
    assert "dracut -f" in said.what
    assert left_to_repair(files, SWAP, SwapRemedy.DROP) == ()
    assert files.writes == []
