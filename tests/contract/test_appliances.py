"""The real appliances on small served disks, judged by debugfs, e2fsck and their kernels."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from growdisk.backends.appliance import Appliance
from growdisk.backends.ext_check import CheckState
from growdisk.backends.guestfs import launch
from growdisk.block.fuse import FuseFolder
from growdisk.block.nbd import NbdServer, serve
from growdisk.block.raw import RawFile
from growdisk.errors import OperationFailed, ToolFailed
from growdisk.guest_config.etc_tables import Entry
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.guest_config.repair import repair_guest
from growdisk.host.kvm import accelerator
from tests.contract.appliances import KINDS, served

pytestmark = pytest.mark.appliance

MiB = 1 << 20
ROOT = (1, 700)  # start and size in MiB; its file system has only 300
SWAP = (702, 64)
DAMAGED = (768, 32)
UUID = "3f9a2c1e-5b7d-4c88-9a10-0c2d4e6f8a1b"
FSTAB = f"UUID=1 / ext4 defaults 0 1\nUUID={UUID} none swap sw 0 0\n"


@dataclass(frozen=True)
class Rig:
    image: Path
    device: RawFile
    server: NbdServer | FuseFolder
    appliance: Appliance


def tool(*argv: str | Path, **options: object) -> str:
    done = subprocess.run(argv, check=True, text=True, capture_output=True, **options)  # type: ignore[call-overload]
    return str(done.stdout)


def make_ext4(image: Path, place: tuple[int, int], size: int, tree: Path | None = None) -> None:
    content = ["-d", tree] if tree else []
    tool(
        "mkfs.ext4", "-q", "-F", "-b", "4096", *content, "-E", f"offset={place[0] * MiB}", image,
        f"{size}M",
    )  # fmt: skip


def make_tree(directory: Path) -> Path:
    for folder in ("etc/initramfs-tools/conf.d", "boot"):
        (directory / folder).mkdir(parents=True)
    (directory / "etc/fstab").write_text(FSTAB)
    (directory / "etc/initramfs-tools/conf.d/resume").write_text(f"RESUME=UUID={UUID}\n")
    (directory / "boot/initrd.img-6.1").write_bytes(b"\x1f\x8b" + bytes(range(256)) * 4000)
    (directory / "boot/vmlinuz-6.1").write_bytes(b"kernel")
    (directory / "boot/initrd.img-6.1").chmod(0o640)
    os.setxattr(directory / "boot/initrd.img-6.1", "user.growdisk", b"kept")
    return directory


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, kind: str) -> Path:
    directory = tmp_path_factory.mktemp(kind)
    path = directory / "disk.raw"
    with path.open("wb") as file:
        file.truncate(802 * MiB)
    table = "label: dos\n" + "".join(
        f"start={s * 2048}, size={n * 2048}, type=83\n" for s, n in (ROOT, SWAP, DAMAGED)
    )
    tool("sfdisk", "-q", "--no-reread", path, input=table)
    make_ext4(path, ROOT, 300, make_tree(directory / "tree"))
    make_ext4(path, DAMAGED, 30)
    with path.open("r+b") as file:  # the root directory's inode table, block bitmap and more
        file.seek(DAMAGED[0] * MiB + 16 * 1024)
        file.write(b"\x5a" * 3 * MiB)
    return path


@pytest.fixture(scope="module")
def rig(image: Path, kind: str) -> Iterator[Rig]:
    device = RawFile.open(image, writable=True)
    with served(kind, device) as (server, launched), launched() as appliance:
        yield Rig(image, device, server, appliance)
    device.close()


def inode(image: Path, path: str) -> dict[str, str]:
    """What debugfs says of a file of the root file system, from the image itself."""
    where = f"{image}?offset={ROOT[0] * MiB}"
    stat = tool("debugfs", "-R", f"stat {path}", where)
    found = {
        key: re.search(pattern, stat)
        for key, pattern in (
            ("inode", r"Inode: (\d+)"),
            ("mode", r"Mode:\s+(\d+)"),
            ("owner", r"User:\s+(\d+)"),
            ("size", r"Size: (\d+)"),
        )
    }
    values = {key: match[1] for key, match in found.items() if match}
    return values | {"xattrs": tool("debugfs", "-R", f"ea_list {path}", where)}


def children() -> list[str]:
    """Commands of our running children."""
    listed = subprocess.run(
        ["ps", "-o", "args=", "--ppid", str(os.getpid())], text=True, stdout=subprocess.PIPE
    ).stdout
    return [line for line in listed.splitlines() if "defunct" not in line]


def test_its_kernel_sees_the_partitions_and_a_new_table_after_reread(rig: Rig) -> None:
    expected = {n: (s * MiB, size * MiB) for n, (s, size) in enumerate((ROOT, SWAP, DAMAGED), 1)}
    assert rig.appliance.kernel_partitions() == expected
    assert rig.appliance.size_of() == 802 * MiB
    sector = rig.device.read(0, 512)
    # the engine writes, behind the appliance's back
    rig.device.write(
        446 + 16 * 3,
        b"\0\0\0\0\x83\0\0\0" + ((800 * 2048).to_bytes(4, "little")) + b"\0\x08\0\0",
    )
    rig.appliance.reread()
    assert rig.appliance.kernel_partitions()[4] == (800 * MiB, MiB)
    rig.device.write(0, sector)
    rig.appliance.reread()
    assert rig.appliance.kernel_partitions() == expected


def test_a_sound_file_system_grows_and_e2fsck_on_the_host_finds_nothing(rig: Rig) -> None:
    assert rig.appliance.check_ext("/dev/sda1").state is CheckState.CLEAN
    rig.appliance.resize_ext("/dev/sda1", 600 * MiB)
    rig.appliance.resize_ext("/dev/sda1", 700 * MiB)
    rig.appliance.sync()
    where = f"{rig.image}?offset={ROOT[0] * MiB}"
    assert "Block count:              179200" in tool("dumpe2fs", "-h", where)
    tool("e2fsck", "-f", "-n", where)


def test_damage_that_cannot_be_mended_is_an_answer_and_not_an_exception(rig: Rig) -> None:
    check = rig.appliance.check_ext("/dev/sda3")
    assert check.state is CheckState.DAMAGED
    assert "UNEXPECTED INCONSISTENCY" in check.output


def test_a_device_without_ext_is_an_error_with_the_tools_own_words(rig: Rig) -> None:
    for device, said in (("/dev/sda2", "and not swap"), ("/dev/sda9", "non-existent")):
        with pytest.raises(ToolFailed) as caught:
            rig.appliance.check_ext(device)
        assert said in caught.value.detail


def test_repairing_keeps_inodes_owners_modes_and_xattrs(rig: Rig) -> None:
    paths = ("/etc/fstab", "/boot/initrd.img-6.1", "/etc/initramfs-tools/conf.d/resume")
    rig.appliance.sync()
    before = {path: inode(rig.image, path) for path in paths}
    swap = RemovedPartition(number=2, uuid=UUID)
    with rig.appliance.mounted_guest("/dev/sda1") as guest:
        assert guest.glob("/boot/vmlinu*") == ["/boot/vmlinuz-6.1"]
        guest.make_swap_file("/swapfile", 64 * MiB, UUID, 4096)
        assert len(repair_guest(guest, swap, SwapRemedy.FILE)) == 3
        assert repair_guest(guest, swap, SwapRemedy.FILE) == ()
        assert guest.read("/etc/fstab").endswith(b"/swapfile none swap sw 0 0\n")
        assert guest.read("/boot/initrd.img-6.1")[4096:] == b"\x1f\x8b" + bytes(range(256)) * 4000
        # The kernel itself is the judge of holes and of the header.
        rig.appliance._shell.run("swapon", "/sysroot/swapfile")
        rig.appliance._shell.run("swapoff", "/sysroot/swapfile")
    after = {path: inode(rig.image, path) for path in paths}
    for path in paths:
        assert {**after[path], "size": ""} == {**before[path], "size": ""}
    assert "kept" in after["/boot/initrd.img-6.1"]["xattrs"]
    swapfile = inode(rig.image, "/swapfile")
    assert (swapfile["mode"], swapfile["owner"], swapfile["size"]) == ("0600", "0", str(64 * MiB))
    tool("e2fsck", "-f", "-n", f"{rig.image}?offset={ROOT[0] * MiB}")


def test_a_file_that_its_file_system_cannot_shift_is_rewritten_in_place(rig: Rig) -> None:
    with rig.appliance.mounted_guest("/dev/sda1") as guest:
        guest.write("/etc/fstab", b"old")
        guest.prepend("/etc/fstab", b"not a whole block,")
        assert guest.read("/etc/fstab") == b"not a whole block,old"
        # As large as a unified kernel image: more than a message of libguestfs takes.
        large = bytes(range(256)) * (40 << 10)
        guest.write("/boot/vmlinuz-6.1", large)
        guest.prepend("/boot/vmlinuz-6.1", b"before")
        assert guest.read("/boot/vmlinuz-6.1") == b"before" + large
        with pytest.raises(ToolFailed):
            guest.read("/etc/no-such-file")


def test_what_fstab_names_is_found_among_the_appliances_devices(rig: Rig) -> None:
    offset = str(ROOT[0] * MiB)
    uuid = tool("blkid", "-p", "-O", offset, "-s", "UUID", "-o", "value", rig.image).strip()
    names = [f"UUID={uuid}", f'"UUID={uuid}"', "UUID=1", "LABEL=none", "/dev/vda2", "/dev/sdb2"]
    with rig.appliance.mounted_guest("/dev/sda1", writable=False) as guest:
        found = [guest._device_of(Entry(name, "/boot", "ext4")) for name in names]
    assert found == ["/dev/sda1", "/dev/sda1", None, None, "/dev/sda2", None]


def test_a_full_host_disk_fails_the_work_instead_of_stopping_the_appliance(
    tmp_path: Path, kind: str
) -> None:
    class FullDisk(RawFile):
        full = False

        def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            super().write(offset, data)

    path = tmp_path / "disk.raw"
    FullDisk.create(path, 64 * MiB).close()
    device = FullDisk.open(path, writable=True)
    with served(kind, device) as (server, launched):
        appliance = launched()
        device.full = True
        with pytest.raises(OperationFailed):
            appliance._shell.run("mkswap", "/dev/sda")
            appliance.sync()
        assert isinstance(server.failure, OSError) and server.failure.errno == errno.ENOSPC
        appliance.kill()
        assert not any(appliance._tag in line for line in children())
        appliance.kill()
    device.close()


def hypervisor(directory: Path, monkeypatch: pytest.MonkeyPatch, when_run: str) -> None:
    """A qemu that answers questions, and does `when_run` when it is to boot the appliance."""
    script = directory / "qemu"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *guestfsd.sock*) {when_run} ;; esac\nexec '
        '/usr/bin/qemu-system-x86_64 "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("LIBGUESTFS_HV", str(script))


def test_an_appliance_that_does_not_start_says_what_qemu_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hypervisor(
        tmp_path, monkeypatch, "echo 'qemu-system-x86_64: cannot allocate memory' >&2; exit 1"
    )
    device = RawFile.create(tmp_path / "disk.raw", MiB)
    with serve(device) as server, pytest.raises(OperationFailed, match="cannot allocate memory"):
        launch(server.socket_path, accelerator=accelerator())
    device.close()


def test_an_appliance_that_hangs_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hypervisor(tmp_path, monkeypatch, 'exec sh -c "while :; do sleep 1; done" "$@"')
    device = RawFile.create(tmp_path / "disk.raw", MiB)
    started = time.monotonic()
    with serve(device) as server, pytest.raises(OperationFailed, match="not up after 4 s"):
        launch(server.socket_path, accelerator=accelerator(), timeout=4)
    assert time.monotonic() - started < 20
    device.close()


def test_what_a_killed_qemu_leaves_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU unlinks its file for the appliance's writes at once; this one dies before that."""
    left = tmp_path / "left"
    left.mkdir()
    monkeypatch.setenv("TMPDIR", str(left))
    monkeypatch.setenv("LIBGUESTFS_CACHEDIR", "/var/tmp")
    hypervisor(
        tmp_path, monkeypatch, f'mktemp -p "$TMPDIR" vl.XXXXXX > {tmp_path}/made; kill -9 $$'
    )
    device = RawFile.create(tmp_path / "disk.raw", MiB)
    with serve(device) as server, pytest.raises(OperationFailed):
        launch(server.socket_path, accelerator=accelerator())
    device.close()
    assert (tmp_path / "made").read_text().startswith(f"{left}/")
    assert list(left.iterdir()) == []
    assert os.environ["TMPDIR"] == str(left)
