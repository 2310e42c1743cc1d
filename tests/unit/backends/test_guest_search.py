"""The search that verifies a repair reads bytes, also in initrds, however they are packed."""

from __future__ import annotations

import gzip
import time
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.guest_config.files import is_said
from growdisk.guest_config.initrd import forgetting_block, noresume_block
from growdisk.guest_config.removed_partition import SwapRemedy
from growdisk.guest_systems.home_repair import needles_of, obstacles, repairs_of
from growdisk.guest_systems.look import find_homes
from growdisk.guest_systems.search import Found, search, search_first
from tests.guests.tools import run
from tests.unit.backends.ext4_guests import PACKERS, RESUME, SWAP, UUID, guest_on_ext4, packed
from tests.unit.backends.unified_images import unified

UNIT = "dev-disk-by\\x2duuid-" + UUID.replace("-", "\\x2d") + ".swap"


def searched(
    folder: Path, files: dict[str, bytes | str], links: dict[str, str] | None = None
) -> Found:
    image = guest_on_ext4(folder, files, links)
    with closing(RawFile.open(image)) as disk:
        (home,) = find_homes(disk, image).homes
        return search(home, [SWAP], needles_of(home, [SWAP]))


@pytest.mark.parametrize("packer", PACKERS)
def test_what_an_initrd_names_is_found_however_it_is_packed(tmp_path: Path, packer: str) -> None:
    found = searched(tmp_path, {"/boot/initrd.img-6": packed(tmp_path, RESUME, packer)})
    assert found.named == {
        "/boot/initrd.img-6": "conf/conf.d/resume in it: run update-initramfs -u -k all"
    }
    assert found.unsearched == {}


@pytest.mark.parametrize("packer", PACKERS)
def test_what_the_block_before_an_initrd_speaks_for_is_mended(tmp_path: Path, packer: str) -> None:
    initrd = forgetting_block(SWAP) + packed(tmp_path, RESUME, packer)
    assert searched(tmp_path, {"/boot/initrd.img-6": initrd}) == Found({}, {})


def test_the_block_speaks_for_no_more_than_it_does(tmp_path: Path) -> None:
    inside = RESUME | {"cryptroot/crypttab": f"s UUID={UUID} none luks\n"}
    found = searched(
        tmp_path, {"/boot/initrd.img-6": forgetting_block(SWAP) + packed(tmp_path, inside)}
    )
    assert found.named["/boot/initrd.img-6"].startswith("cryptroot/crypttab in it")
    hook = {
        "lib/dracut/hooks/emergency/x.sh": f"[ -e /dev/disk/by-uuid/{UUID} ]\n",
        "lib/dracut/modules.txt": "",
    }
    found = searched(
        tmp_path, {"/boot/initramfs-6.img": noresume_block(SWAP) + packed(tmp_path, hook)}
    )
    assert "dracut -f" in found.named["/boot/initramfs-6.img"]


def test_an_initrd_that_cannot_be_unpacked_is_not_said_to_be_right(tmp_path: Path) -> None:
    found = searched(
        tmp_path,
        {"/boot/initrd.img-6": packed(tmp_path, RESUME)[:90], "/boot/initrd.lzo": b"\x89LZO\0"},
    )
    assert found.named == {}
    assert set(found.unsearched) == {"/boot/initrd.img-6", "/boot/initrd.lzo"}


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/etc/rc.local", f"swapon -U {UUID}\n"),
        ("/usr/local/sbin/sleep.sh", "swapon /dev/vda4 && hibernate\n"),
        ("/boot/boot.scr", f"\x27\x05\x19\x56 resume=UUID={UUID}"),
        ("/boot/grub/device.map", "(hd0) x\nset root=(hd0,gpt4)"),
        ("/usr/lib/systemd/system/x.service", "[Service]\nExecStart=/sbin/swapon LABEL=spare\n"),
        ("/etc/systemd/zram-generator.conf",
            "[zram0]\nwriteback-device=/dev/disk/by-partuuid/7f00aa11-04\n"),
        ("/etc/systemd/system/a.service", f"[Unit]\nAfter={UNIT}\n"),
        ("/usr/lib/systemd/system/b.target", "[Unit]\nBindsTo=dev-sda4.device\n"),
        ("/etc/systemd/system/dev-vda4.swap", "[Swap]\nPriority=1\n"),
        ("/etc/x/dev-disk-by\\x2dlabel-spare.swap", "[Swap]\nPriority=1\n"),
        ("/etc/rc.conf", 'swap=LABEL="spare"\n'),
        (f"/etc/systemd/system/{UNIT}.d/x.conf", f"# x\nA={UUID}\n"),
    ],
)  # fmt: skip
def test_a_file_of_unknown_meaning_is_found_by_its_bytes(
    tmp_path: Path, path: str, content: str
) -> None:
    assert searched(tmp_path, {path: content}) == Found({path: ""}, {})


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/etc/fstab", f"# removed by growdisk: UUID={UUID} none swap sw 0 0\n"),
        ("/etc/x", "/dev/sda45 /dev/sdb4\n"),
        (f"/etc/systemd/system/{UNIT}", ""),
        ("/boot/grub/grub.cfg", "set root='hd0,gpt42'\n"),
        ("/usr/lib/systemd/system/spare.target", "[Unit]\n"),
    ],
)  # fmt: skip
def test_comments_longer_numbers_masked_units_and_short_words_are_not_found(
    tmp_path: Path, path: str, content: str
) -> None:
    assert searched(tmp_path, {path: content}) == Found({}, {})


def test_what_is_packed_and_no_initrd_is_searched_as_text(tmp_path: Path) -> None:
    kernel = b"\0" * 56 + b"ARMd" + bytes(4000)
    page, note = b".TH which 1\n" * 50, f"old swap: {UUID}\n".encode()
    files: dict[str, bytes | str] = {
        "/boot/kernel8.img": gzip.compress(kernel),
        "/etc/b.gz": gzip.compress(note),
    }
    links = {
        "/etc/alternatives/which.1.gz": "/usr/share/which.1.gz",
        "/etc/page": "/usr/share/which.1.gz",
    }
    files["/usr/share/which.1.gz"] = gzip.compress(page)
    assert searched(tmp_path, files, links) == Found({"/etc/b.gz": ""}, {})


def test_a_link_is_followed_and_each_file_found_once(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "/nix/store/1-etc/crypttab": f"s UUID={UUID} none\n",
        "/etc/a": f"{UUID}\n",
    }
    links = {f"/etc/systemd/system/{UNIT}": "/dev/null"}
    links |= {
        "/etc/crypttab": "/nix/store/1-etc/crypttab",
        "/etc/b": "a",
        "/etc/c": "nowhere",
        "/etc/d": "d",
    }
    assert searched(tmp_path, files, links).named == {"/etc/a": "", "/etc/crypttab": ""}


def test_a_unified_kernel_is_searched_in_its_command_line_and_its_initrd(tmp_path: Path) -> None:
    found = searched(
        tmp_path,
        {
            "/boot/efi/EFI/Linux/a.efi": unified(f"root=x resume=UUID={UUID}"),
            "/boot/efi/EFI/Linux/b.efi": unified("x"),
        },
    )
    assert found.named == {"/boot/efi/EFI/Linux/a.efi": "its command line"}


@pytest.mark.parametrize(
    ("path", "content", "holds_back"),
    [
        ("/etc/rc.local", f"swapon -U {UUID}\n", True),
        ("/etc/a/b/c.yaml", f"swap: {{device: /dev/disk/by-uuid/{UUID}}}\n", True),
        ("/usr/local/sbin/sleep", "swapon /dev/vda4\n", True),
        ("/usr/local/lib/systemd/system/a.service", f"[Unit]\nAfter={UNIT[:-5]}.device x\n", False),
        ("/boot/boot.scr", f"\x27\x05\x19\x56\0 resume=UUID={UUID}", True),
        ("/etc/fstab", f"UUID={UUID} none swap sw 0 0\n", False),
        (f"/etc/systemd/system/{UNIT}", f"[Swap]\nWhat=UUID={UUID}\n", False),
        ("/etc/fstab.bak", f"UUID={UUID} none swap sw 0 0\n", False),
        ("/etc/fstab.dpkg-old", f"UUID={UUID} none swap sw 0 0\n", False),
        ("/etc/fstab~", f"UUID={UUID} none swap sw 0 0\n", False),
        ("/etc/blkid/blkid.tab", f'<device UUID="{UUID}" TYPE="swap">/dev/sda4</device>\n', False),
        ("/etc/.git/x/y", f"{UUID}\n", False),
        ("/etc/mtab", "/dev/sda4 /data ext4 rw 0 0\n", False),
        ("/etc/lvm/backup/vg0", 'device = "/dev/sda4"\n', False),
        ("/etc/x", f"# {UUID}\n", False),
    ],
)
def test_a_plan_knows_what_will_still_name_the_swap_unless_nothing_reads_it(
    tmp_path: Path, path: str, content: str, holds_back: bool
) -> None:
    image = guest_on_ext4(tmp_path, {path: content})
    with closing(RawFile.open(image)) as disk:
        look = find_homes(disk, image)
        found = obstacles(look, repairs_of(look, "/dev/sda", [(SWAP, SwapRemedy.DROP)]))
    assert [reason.partition(":")[0] for reason in found] == [path] * holds_back


def test_a_folder_that_cannot_be_read_is_said_and_the_others_are_searched(tmp_path: Path) -> None:
    image = guest_on_ext4(tmp_path, {"/etc/a/b/c/d": "x\n", "/etc/z": f"{UUID}\n"})
    run("debugfs", "-w", "-R", "sif /etc/a/b/c block[0] 0", image)  # its extents
    with closing(RawFile.open(image)) as disk:
        look = find_homes(disk, image)
        (home,) = look.homes
        found = search(home, [SWAP], needles_of(home, [SWAP]))
        assert obstacles(look, repairs_of(look, "/dev/sda", [(SWAP, SwapRemedy.DROP)]))
    assert found == Found({"/etc/z": ""}, {"/etc/a/b/c": "an extent tree is damaged"})


def test_what_a_plan_reads_of_a_guests_files_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: dict[str, bytes | str] = {f"/etc/{n}": UUID + "x" * 10_000 for n in range(9)}
    image = guest_on_ext4(tmp_path, files)
    with closing(RawFile.open(image)) as disk:
        (home,) = find_homes(disk, image).homes
        needles = needles_of(home, [SWAP])
        assert len(list(search_first(home, needles))) == 9
        monkeypatch.setattr("growdisk.guest_systems.search._MOST_FIRST", 60_000)
        assert 1 < len(list(search_first(home, needles))) < 5


@pytest.mark.parametrize("text", ["\n" * 1_000_000 + "#/dev/sda4", "/dev/sda45" * 100_000])
def test_a_large_file_is_searched_in_no_time(text: str) -> None:
    start = time.thread_time()
    assert not is_said(text.encode(), SWAP.needles())
    assert time.thread_time() - start < 0.5
