"""By which names a guest may know a partition: those of udev, the kernel, crypttab and disks."""

from __future__ import annotations

import shlex

import pytest

from growdisk.fast_dataclass import replace
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.guest_config.repair import known_in, repair_guest
from tests.guests.tools import run
from tests.unit.backends.gone_swap import (
    FSTAB,
    GONE,
    PARTUUID,
    SWAP,
    UUID,
)
from tests.unit.backends.memory_files import Files


@pytest.mark.parametrize(
    ("option", "node"),
    [(f"rd.luks.name={UUID}=cs", "cs"), (f"luks.uuid={UUID}", f"luks-{UUID}"),
     (f"rd.luks.uuid=luks-{UUID}", f"luks-{UUID}"),
     (f"cryptdevice=PARTUUID={PARTUUID}:cs:discard", "cs"),
     (f"cryptopts=target=cs,source=UUID={UUID}", "cs")],
)  # fmt: skip
def test_what_the_kernels_options_open_is_known_by_its_name_there(option: str, node: str) -> None:
    line = f"/dev/mapper/{node} none swap sw 0 0\n"
    entry = f"options root=LABEL=r {option} resume=/dev/mapper/{node} quiet"
    files = Files(**{"/etc/fstab": FSTAB + line, "/boot/loader/entries/a.conf": entry})
    repair_guest(files, SWAP, SwapRemedy.DROP)
    assert files.contents["/etc/fstab"].decode() == f"{FSTAB}{GONE}{line}"
    assert files.contents["/boot/loader/entries/a.conf"] == b"options root=LABEL=r quiet"


@pytest.mark.parametrize(
    "option",
    [
        "rd.luks.name=0b0b=cs",
        "cryptdevice=/dev/sdb7:cs",
        "# cryptdevice=/dev/sda7:cs",
        "x.luks.name=0=cs",
    ],
)
def test_what_the_kernels_options_open_of_another_partition_stays(option: str) -> None:
    files = Files(
        **{"/etc/fstab": f"{FSTAB}/dev/mapper/cs none swap sw 0 0\n", "/etc/kernel/cmdline": option}
    )
    repair_guest(files, SWAP, SwapRemedy.DROP)
    assert files.writes == []


@pytest.mark.parametrize(
    "link",
    ["dm-name-cs", "dm-uuid-CRYPT-PLAIN-cs", f"dm-uuid-CRYPT-LUKS2-{UUID.replace('-', '')}-cs"],
)
def test_udevs_other_names_of_what_crypttab_opens_are_known(link: str) -> None:
    line = f"/dev/disk/by-id/{link} none swap sw 0 0\n"
    other = "/dev/disk/by-id/dm-name-cs2 none swap sw 0 0\n"
    crypttab = "cs /dev/vda7 /dev/urandom swap\ncs2 /dev/sdb7 /dev/urandom swap\n"
    files = Files(**{"/etc/fstab": FSTAB + line + other, "/etc/crypttab": crypttab})
    repair_guest(files, SWAP, SwapRemedy.DROP)
    assert files.contents["/etc/fstab"].decode() == f"{FSTAB}{GONE}{line}{other}"


@pytest.mark.parametrize("label", ["подкачка", "Подкачка", "交換", "--"])
def test_a_label_without_latin_letters_is_found(label: str) -> None:
    files = Files(
        **{
            "/etc/fstab": f"{FSTAB}LABEL={label} none swap sw 0 0\n",
            "/etc/kernel/cmdline": f"resume=LABEL={label} a",
        }
    )
    repair_guest(files, RemovedPartition(number=7, label=label), SwapRemedy.DROP)
    assert files.contents["/etc/fstab"].decode() == f"{FSTAB}{GONE}LABEL={label} none swap sw 0 0\n"
    assert files.contents["/etc/kernel/cmdline"] == b"a"


@pytest.mark.parametrize(
    "source", ["ID=ata-MINE-part7", 'ID="ata-MINE-part7"', "/dev/disk/by-id/ata-MINE-part7"]
)
def test_a_disk_is_known_by_its_id_in_either_spelling(source: str) -> None:
    assert replace(SWAP, stems=("by-id/ata-MINE",)).is_named_by(source)
    assert not SWAP.is_named_by(source) and SWAP.may_be_named_by(source)


def test_the_kernels_name_of_a_second_disk_counts_where_root_is_on_it() -> None:
    first, second = "/dev/sda7 none swap sw 0 0\n", "/dev/sdb7 none swap sw 0 0\n"
    for root, gone, kept in (
        ("/dev/sdb1", second, first),
        ("/dev/vda1", first, second),
        ("LABEL=r", first, second),
    ):
        files = Files(**{"/etc/fstab": f"{root} / ext4 defaults 0 1\n{first}{second}"})
        repair_guest(files, SWAP, SwapRemedy.DROP)
        assert (
            files.contents["/etc/fstab"]
            .decode()
            .endswith(f"\n{first}{second}".replace(gone, GONE + gone))
        )
        assert kept in files.contents["/etc/fstab"].decode().replace(GONE + kept, "")


def test_links_and_units_are_spelled_as_udev_and_systemd_do() -> None:
    swap = RemovedPartition(number=7, label="größe (a) #1=b")
    link = "/dev/disk/by-label/größe\\x20\\x28a\\x29\\x20#1=b"
    assert swap.is_named_by(link) and shlex.quote(link) in swap.shell_patterns()
    unit = run("systemd-escape", "-p", "--suffix=swap", link).strip()
    files = Files(
        **{"/etc/fstab": FSTAB, "/etc/systemd/system/a.service": f"[Unit]\nAfter={unit} x.target\n"}
    )
    repair_guest(files, swap, SwapRemedy.DROP)
    assert files.contents["/etc/systemd/system/a.service"].decode() == "[Unit]\nAfter=x.target\n"
    assert any(needle in unit.encode() for needle in swap.needles())


def test_the_same_partition_of_roots_own_disk_is_mended() -> None:
    fstab = "/dev/disk/by-id/ata-MINE-part1 / ext4 defaults 0 1\n"
    files = Files(
        **{
            "/etc/fstab": fstab,
            "/etc/crypttab": "s /dev/disk/by-id/ata-MINE-part7 /dev/urandom swap",
        }
    )
    repair_guest(files, SWAP, SwapRemedy.DROP)
    assert files.contents["/etc/crypttab"].decode().startswith(GONE)


@pytest.mark.parametrize(
    ("root", "swap"),
    [("/dev/mapper/mpatha-part1", "/dev/mapper/mpatha-part7"),
     ("/dev/disk/by-id/dm-name-mpatha-part1", "/dev/mapper/mpatha-part7"),
     ("/dev/mapper/mpatha-part1", "/dev/disk/by-id/dm-name-mpatha-part7"),
     ("/dev/dasdb1", "/dev/dasdb7"), ("/dev/nbd0p1", "/dev/nbd0p7"),
     ("/dev/pmem0p1", "/dev/pmem0p7")],
)  # fmt: skip
def test_a_disk_that_root_is_on_is_known_whatever_drives_it(root: str, swap: str) -> None:
    line = f"{swap} none swap sw 0 0\n"
    other = "/dev/mapper/mpathb-part7 none swap sw 0 0\n/dev/dasda7 none swap sw 0 0\n"
    files = Files(**{"/etc/fstab": f"{root} / ext4 defaults 0 1\n{line}{other}"})
    repair_guest(files, SWAP, SwapRemedy.DROP)
    assert (
        files.contents["/etc/fstab"].decode() == f"{root} / ext4 defaults 0 1\n{GONE}{line}{other}"
    )
    assert any(needle in swap.encode() for needle in known_in(files, SWAP).needles())


@pytest.mark.parametrize("name", ["by-partnum/7", f"by-uuid/{UUID}", "by-partlabel/Swap\\x20space"])
def test_udevs_names_below_that_of_the_disk_are_known(name: str) -> None:
    part = "/dev/disk/by-path/pci-0000:00:05.0-part"
    root, line = f"{part}/by-partnum/1 / ext4 defaults 0 1\n", f"{part}/{name} none swap sw 0 0\n"
    files = Files(**{"/etc/fstab": root + line})
    repair_guest(files, SWAP, SwapRemedy.DROP)
    assert files.contents["/etc/fstab"].decode() == f"{root}{GONE}{line}"


def test_the_seventh_partition_of_some_disk_by_its_number_is_left_and_said_to_wait() -> None:
    line = "/dev/disk/by-path/pci-0000:00:05.0-part/by-partnum/7 none swap sw 0 0\n"
    (change,) = repair_guest(Files(**{"/etc/fstab": FSTAB + line}), SWAP, SwapRemedy.DROP)
    assert (change.path, change.mended, change.waits) == ("/etc/fstab", False, True)
    (change,) = repair_guest(
        Files(**{"/etc/fstab": "", "/boot/grub/grub.cfg": f"linux resume={line}"}),
        SWAP,
        SwapRemedy.DROP,
    )
    assert (change.path, change.mended, change.waits) == ("/boot/grub/grub.cfg", False, True)
