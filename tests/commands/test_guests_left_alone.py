"""Guests in which a change of their files would do harm, or would not be seen: swap stays."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.commands.plain_guest import FSTAB, ROOT, ROOT_LINE, ROOT_PLACE, SWAP, file_in, make
from tests.crash.full_host import fill, small_file_system
from tests.guests.tools import place_content, run
from tests.unit.cli.command import in_process

_ENTRY = f"linux /vmlinuz root=LABEL=r resume=UUID={SWAP} quiet\n"
_INITRD = b"\x28\xb5\x2f\xfd" + b"x" * 9000
_MADE = {"/usr/sbin/update-initramfs": "", "/boot/initrd.img-6": _INITRD}
_OVERLAY = "overlay /etc overlay lowerdir=/sysroot/etc,upperdir=/sysroot/var/lib/overlay/1/etc 0 0"
_LIMINE = f"cmdline: root=LABEL=r resume=UUID={SWAP}\n"
_BY_CHECKSUM = f"{_LIMINE}module_path: boot():/initrd.img-6#{blake2b(_INITRD).hexdigest()}\n"
_ENROLLED = f"MZ\0++CONFIG_B2SUM_SIGNATURE++{blake2b(_LIMINE.encode()).hexdigest()}\0"
GUESTS = {
    "lilo": ({**_MADE, "/boot/map": bytes(512)}, "run lilo or zipl"),
    "zipl": ({**_MADE, "/boot/bootmap": bytes(512)}, "run lilo or zipl"),
    "overlay": ({"/etc/fstab": f"{ROOT_LINE}{_OVERLAY}\n"}, "/etc is an overlay"),
    "guix": ({"/var/guix/profiles/system/x": ""}, "Guix"),
    "limine": ({**_MADE, "/boot/limine.conf": _BY_CHECKSUM}, "/boot/initrd.img-6: Limine has its"),
    "limine, enrolled": (
        {"/boot/limine.conf": _LIMINE, "/boot/EFI/BOOT/a.efi": _ENROLLED},
        "/boot/limine.conf: Limine has its checksum",
    ),
    "signed": ({"/boot/grub/grub.cfg": _ENTRY, "/boot/grub/grub.cfg.sig": b"\x89"}, "signature"),
}


@pytest.mark.parametrize("guest", GUESTS)
def test_swap_is_moved_and_the_reason_is_said(tmp_path: Path, guest: str) -> None:
    files, reason = GUESTS[guest]
    image = make(tmp_path, files)
    answer = in_process("expand", image, "+50M")
    assert answer.code == 0, answer
    said = " ".join(answer.out.split())
    assert "swap is moved, not given up" in said and reason in said
    assert file_in(image, "/etc/fstab") == str(files.get("/etc/fstab", FSTAB))


LINKS = {
    "etc/default/grub": (f'X="resume=UUID={SWAP}"\n', f'Y="resume=UUID={ROOT}"\n'),
    "etc/initramfs-tools/conf.d/resume": (f"RESUME=UUID={SWAP}\n", f"# RESUME=UUID={SWAP}\n"),
    "etc/systemd/system/a.swap": (f"[Swap]\nWhat=UUID={SWAP}\n", "[Swap]\nWhat=/x\n"),
}


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("named", [True, False])
def test_swap_is_moved_where_a_link_leads_to_what_names_it(
    tmp_path: Path, link: str, named: bool
) -> None:
    folder, naming, other = link.rpartition("/")[0], *LINKS[link]
    image = make(tmp_path, {"/opt/own": naming if named else other, f"/{folder}/README": ""})
    offset = f"{image}?offset={ROOT_PLACE.start}"
    run("debugfs", "-w", "-R", f"symlink {link} /opt/own", offset)
    answer = in_process("plan", image, "+50M")
    assert answer.code == 0, answer
    said = " ".join(answer.out.split())
    assert ("swap is moved, not given up" in said) == named
    assert (f"/{link}: it is a link, and stays" in said) == named


def test_a_link_to_a_file_that_is_changed_is_no_hindrance(tmp_path: Path) -> None:
    """As Red Hat's /etc/sysconfig/grub."""
    naming = f'GRUB_CMDLINE_LINUX="resume=UUID={SWAP}"\n'
    image = make(tmp_path, {"/etc/default/grub": naming, "/etc/sysconfig/README": ""})
    offset = f"{image}?offset={ROOT_PLACE.start}"
    run("debugfs", "-w", "-R", "symlink etc/sysconfig/grub ../default/grub", offset)
    assert "given up: sda2" in in_process("plan", image, "+50M").out


def test_swap_is_moved_where_no_file_of_the_guest_can_be_read(tmp_path: Path) -> None:
    image, volume = make(tmp_path, {}), tmp_path / "volume"
    with volume.open("wb") as file:
        file.truncate(ROOT_PLACE.length)
    run("mkntfs", "-q", "-F", "-Q", "-p", "2048", "-H", "255", "-S", "63", volume)
    with image.open("r+b") as disk:
        disk.seek(ROOT_PLACE.start)
        disk.write(volume.read_bytes())
    answer = in_process("plan", image, "+50M")
    assert answer.code == 0, answer
    said = " ".join(answer.out.split())
    assert "swap is moved, not given up: no system" in said and "sda2 moved to" in said
    for words in (("--swap", "drop"), ("--no-guest-repair",)):
        assert "given up: sda2" in in_process("plan", image, "+50M", *words).out


def test_what_is_read_by_blocks_or_signed_is_left_where_swap_is_to_be_dropped(
    tmp_path: Path,
) -> None:
    files = GUESTS["lilo"][0] | GUESTS["signed"][0]
    image = make(tmp_path, files)
    answer = in_process("expand", image, "+50M", "--swap", "drop")
    assert answer.code == 0 and "WARNING" in answer.out
    assert file_in(image, "/boot/initrd.img-6").encode().endswith(b"x" * 9000)
    assert len(file_in(image, "/boot/initrd.img-6")) < len(_INITRD) + 10
    assert file_in(image, "/boot/grub/grub.cfg") == _ENTRY


def test_without_a_checksum_what_limine_reads_is_changed(tmp_path: Path) -> None:
    image = make(tmp_path, {**_MADE, "/boot/limine.conf": _LIMINE})
    answer = in_process("expand", image, "+50M")
    assert answer.code == 0 and "given up: sda2" in answer.out
    assert file_in(image, "/boot/limine.conf") == "cmdline: root=LABEL=r\n"


@pytest.mark.parametrize(
    "kind", ["another swap file", "a link", "no fstab", "fstab is a link", "a read-only root"]
)
def test_a_swap_file_is_refused_where_the_guest_would_not_swap_on_it(
    tmp_path: Path, kind: str
) -> None:
    files: dict[str, dict[str, str | bytes]] = {
        "another swap file": {"/swapfile": bytes(8192)},
        "a read-only root": {"/etc/fstab": FSTAB.replace("defaults", "noatime,ro")},
    }
    image = make(tmp_path, files.get(kind, {}))
    commands = {
        "a link": "symlink swapfile /var/x",
        "no fstab": "rm etc/fstab",
        "fstab is a link": "rm etc/fstab\nsymlink etc/fstab fstab.made",
    }
    offset = f"{image}?offset={ROOT_PLACE.start}"
    run("debugfs", "-w", "-f", "-", offset, stdin=commands.get(kind, "stats"))
    refused = in_process("plan", image, "+50M", "--swap", "file")
    assert refused.code == 3 and "the root in sda1 " in refused.err, refused


def test_an_initrd_has_room_in_a_full_root_that_grows(tmp_path: Path) -> None:
    image = make(tmp_path, _MADE, root_options=("-b", "1024", "-m", "0"))
    place, filling = f"{image}?offset={ROOT_PLACE.start}", tmp_path / "filling"
    free = int(run("dumpe2fs", "-h", place).partition("\nFree blocks:")[2].split()[0])
    filling.write_bytes(b"x" * 1024 * (free - 2))
    run("debugfs", "-w", "-R", f"write {filling} filling", place)
    answer = in_process("expand", image, "+50M")
    assert answer.code == 0 and "given up: sda2" in answer.out
    assert len(file_in(image, "/boot/initrd.img-6")) > len(_INITRD)


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
@pytest.mark.parametrize("full", [True, False])
def test_a_boot_that_only_a_kernel_writes_to_has_room_or_not(
    tmp_path: Path, kind: str, full: bool
) -> None:
    with small_file_system(tmp_path / "boot", kind, 320 * MiB) as boot:
        (boot / "grub").mkdir()
        (boot / "grub/grub.cfg").write_text(_ENTRY)
        (boot / "initrd.img-6").write_bytes(_INITRD)
        if full:
            fill(boot)
    make(tmp_path, {"/usr/sbin/update-initramfs": ""})
    disk = in_a_row(tmp_path, f"boot.{kind}", "root", "swap")
    answer = in_process("plan", disk, "+50M", "--partition", "2")
    said = " ".join(answer.out.split())
    assert answer.code == 0 and ("given up: sda3" in said) == (not full), answer
    assert ("initrd.img-6: there is no room" in said) == full
    assert ("grub.cfg: there is no room" in said) == (full and kind == "btrfs")


@pytest.mark.parametrize(("length", "fits"), [(1024, False), (900, True)])
def test_a_full_root_that_does_not_grow_takes_no_longer_fstab(
    tmp_path: Path, length: int, fits: bool
) -> None:
    """The line that names the swap becomes a comment: in blocks of 1 KiB it needs one more."""
    fstab = f"{FSTAB}#".ljust(length - 1, "x") + "\n"
    image = make(tmp_path, {"/etc/fstab": fstab}, root_options=("-b", "1024", "-m", "0"))
    place, filling = f"{image}?offset={ROOT_PLACE.start}", tmp_path / "filling"
    free = int(run("dumpe2fs", "-h", place).partition("\nFree blocks:")[2].split()[0])
    filling.write_bytes(b"x" * 1024 * (free - 1))
    run("debugfs", "-w", "-R", f"write {filling} filling", place)
    (tmp_path / "data").write_bytes(bytes(8 * MiB))
    run("mke2fs", "-q", "-t", "ext4", tmp_path / "data")
    answer = in_process(
        "plan", in_a_row(tmp_path, "root", "data", "swap"), "+50M", "--partition", "2"
    )
    said = " ".join(answer.out.split())
    assert ("given up: sda3" in said, "/etc/fstab: there is no room" in said) == (fits, not fits)


def in_a_row(folder: Path, *names: str) -> Path:
    """A disk with these partitions, files in the folder; `root` is that of the disk there."""
    with (folder / "disk.raw").open("rb") as image:
        image.seek(ROOT_PLACE.start)
        (folder / "root").write_bytes(image.read(ROOT_PLACE.length))
    sizes = [(folder / name).stat().st_size // MiB for name in names]
    disk, start = folder / "disk", 1
    disk.touch()
    os.truncate(disk, (sum(sizes) + 2) * MiB)
    lines = (f"size={size}M, type=linux" for size in sizes)
    run("sfdisk", "-q", disk, stdin="\n".join(["label: gpt", *lines, ""]))
    for name, size in zip(names, sizes, strict=True):
        place_content(folder / name, disk, start * MiB)
        start += size
    return disk
