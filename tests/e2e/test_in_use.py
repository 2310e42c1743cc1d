"""Users of a device or image without QEMU's locks are found and named; nothing is written.

Each situation is a real one: a process with a node of its own, a mount, a loop device, a machine of
libvirt.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from growdisk.block.holders import refuse_users, use_of
from growdisk.block.locks import others_open, others_write
from growdisk.block.raw import RawFile
from growdisk.errors import ImageInUse
from growdisk.host.fuse_mount import mounted as fuse_mounted
from growdisk.live.local_guests import running_users
from growdisk.units import MiB
from growdisk.workflow.run_places import STATE_DIR
from tests.conftest import DiskMaker
from tests.e2e.ordinary_user import _DROP, _NOBODY
from tests.e2e.process import Host, await_true
from tests.guests.firmware import halting
from tests.guests.layouts import Layout
from tests.guests.loops import loop, mounted
from tests.guests.small import SmallDisk
from tests.guests.tools import run
from tests.online.libvirtd import libvirtd, virsh
from tests.unit.cli.command import fingerprint

_HOLD = (
    "import sys, time; file = open(sys.argv[1], sys.argv[2], buffering=0); print(flush=True); "
    "time.sleep(600)"
)
_MACHINE = """\
<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64' machine='pc'>hvm</type>
<loader readonly='yes' type='rom'>{rom}</loader></os>
<devices>
  <disk type='block' device='disk'>
    <driver name='qemu' type='raw'/><source dev='{device}'/><target dev='vda' bus='virtio'/>
  </disk>
  <video><model type='vga'/></video><memballoon model='none'/>
</devices>
<seclabel type='static' model='dac' relabel='no'><label>+0:+0</label></seclabel>
</domain>
"""


@contextmanager
def held(path: Path, mode: str = "rb") -> Iterator[int]:
    """Another process has `path` open, without a lock; its number."""
    process = subprocess.Popen([sys.executable, "-c", _HOLD, path, mode], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def image(small_disk: DiskMaker) -> Path:
    """Its partition begins at 1 MiB; 128 MiB of the disk are behind it."""
    made = small_disk(
        "guest.raw",
        SmallDisk(layout=Layout.CLASSIC, size=128 * MiB, swap_size=16 * MiB, image_format="raw"),
    )
    os.truncate(made, 256 * MiB)
    return made


@pytest.fixture
def device(image: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("loop devices are root's")
    with loop(image) as path:
        yield path


def refused(host: Host, target: Path, *named: str, image: Path | None = None) -> dict[str, object]:
    """Both plan and expand say no and name the holder, and not a byte is changed."""
    before = fingerprint(image or target)
    error = said_no(host, target, *named)
    assert fingerprint(image or target) == before
    return error


def said_no(host: Host, target: Path, *named: str) -> dict[str, object]:
    for verb in ("plan", "expand"):
        answer = host.growdisk(verb, target)
        assert (answer.code, answer.result) == (3, "refused"), answer
        assert all(name in str(answer.error["why"]) for name in named), answer
    return answer.error


def test_who_only_looks_at_a_device_in_passing_does_not_use_it(device: Path) -> None:
    """As udev and blkid do after each change, and losetup when it looks for a free device."""
    look = "import sys, time; file = open(sys.argv[1], 'rb'); print(flush=True); time.sleep(0.2)"
    with subprocess.Popen([sys.executable, "-c", look, device], stdout=subprocess.PIPE) as passing:
        assert passing.stdout is not None
        passing.stdout.readline()
        assert use_of(device).pids == (passing.pid,)
        refuse_users(device)


def test_a_process_with_a_device_node_of_its_own_is_found(
    host: Host, device: Path, image: Path, tmp_path: Path
) -> None:
    node = tmp_path / "another-node"
    os.mknod(node, 0o600 | 0o060000, device.stat().st_rdev)
    with held(node) as pid:
        refused(host, device, f"(pid {pid})", image=image)
        refused(host, node, f"(pid {pid})", image=image)
    assert host.growdisk("expand", device).result == "changed"


def test_a_mounted_partition_of_the_device_is_found(
    host: Host, device: Path, image: Path, tmp_path: Path
) -> None:
    """A loop device stands for the partition: the kernel here may know no partition tables."""
    with (
        loop(device, "--offset", str(MiB)) as partition,
        mounted(partition, tmp_path / "mnt", "-o", "ro") as place,
    ):
        error = refused(host, device, f"the mount {place}", str(partition), image=image)
        assert f"umount {place}" in str(error["do"])
    with (
        loop(image, "--offset", str(MiB)) as partition,
        mounted(partition, tmp_path / "mnt", "-o", "ro") as place,
    ):
        # not on the device, but on the same bytes
        refused(host, device, f"the mount {place}", image=image)


def test_a_mount_of_the_device_itself_is_found(host: Host, tmp_path: Path, device: Path) -> None:
    plain = tmp_path / "plain.raw"
    run("truncate", "-s", "64M", plain)
    run("mkfs.ext4", "-qF", plain)
    with loop(plain) as whole, mounted(whole, tmp_path / "mnt", "-o", "ro") as place:
        refused(host, whole, f"the mount {place}", image=plain)


def test_swap_on_the_device_is_found(host: Host, tmp_path: Path, device: Path) -> None:
    plain = tmp_path / "swap.raw"
    plain.write_bytes(bytes(16 * MiB))
    run("mkswap", "-q", plain)
    with loop(plain) as whole:
        run("swapon", whole)
        try:
            said_no(host, whole, "swap")  # the kernel may write to it at any time
        finally:
            run("swapoff", whole)


def test_a_loop_device_beside_it_on_other_bytes_does_not_matter(
    host: Host, image: Path, tmp_path: Path
) -> None:
    both = tmp_path / "two-disks.raw"
    both.write_bytes(bytes(64 * MiB) + image.read_bytes())
    with (
        loop(both, "--sizelimit", str(64 * MiB)) as first,
        loop(both, "--offset", str(64 * MiB)) as second,
        held(first),
    ):
        assert host.growdisk("expand", second).result == "changed"


def test_a_loop_device_over_the_image_file_is_found(host: Host, device: Path, image: Path) -> None:
    error = refused(host, image, f"the loop device {device}")
    assert f"losetup -d {device}" in str(error["do"])


def test_a_program_that_writes_to_the_image_file_without_locks_is_found(
    host: Host, image: Path
) -> None:
    with held(image, "r+b") as pid:
        refused(host, image, f"(pid {pid})")
    with held(image, "rb"):
        assert host.growdisk("expand", image).result == "changed"


def test_qemu_that_does_not_lock_the_image_file_is_found(host: Host, image: Path) -> None:
    drive = f"driver=file,filename={image},locking=off,node-name=disk"
    qemu = subprocess.Popen(
        ["qemu-system-x86_64", "-S", "-display", "none", "-nodefaults", "-m", "64", "-blockdev",
            drive,
         "-device", "virtio-blk-pci,drive=disk"], stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await_true(lambda: others_write(image) == "somebody", 60, "QEMU has the image")
        refused(host, image, f"(pid {qemu.pid})")
    finally:
        qemu.kill()
        qemu.wait()


def test_a_running_machine_of_libvirt_is_found_by_any_path_to_its_device(
    host: Host, device: Path, image: Path, tmp_path: Path
) -> None:
    name = f"growdisk-test-{uuid.uuid4().hex[:8]}"
    link = tmp_path / "web01"
    xml = tmp_path / "machine.xml"
    link.symlink_to(device)
    xml.write_text(_MACHINE.format(name=name, device=link, rom=halting()))
    with libvirtd():
        virsh("create", str(xml))
        try:
            for target in (device, link):
                error = refused(host, target, "qemu-system-x86 (pid ", image=image)
                assert f"growdisk expand -d {name} works on it while it runs" in str(error["do"])
            refused(host, image, "qemu-system-x86 (pid ")
            assert running_users(device.stat().st_rdev) == [name]
            for verb in ("resize", "check"):
                words = ("+64M",) if verb == "resize" else ("-r", "all")
                assert host.growdisk("image", verb, device, *words).code != 0
        finally:
            virsh("destroy", name)
    assert host.growdisk("expand", device).result == "changed"


def test_an_ordinary_user_is_told_what_cannot_be_seen(host: Host, device: Path) -> None:
    if subprocess.run(
        [*_DROP, sys.executable, "-c", "import growdisk.cli.main"], cwd="/"
    ).returncode:
        pytest.skip("this Python is root's alone")
    status = device.stat()
    os.chown(host.scratch, _NOBODY, _NOBODY)
    os.chown(device, _NOBODY, _NOBODY)
    host.prefix = _DROP
    host.environment |= {"HOME": str(host.scratch), "PYTHONDONTWRITEBYTECODE": "1"}
    # that of the tests may be root's already
    host.environment[STATE_DIR] = str(host.scratch / "state")
    try:
        answer = host.growdisk("expand", device)
        assert (answer.code, "processes of other users" in str(answer.error["why"])) == (3, True), (
            answer
        )
        assert "--not-in-use" in str(answer.error["do"])
        trusting = host.growdisk("plan", device, "--not-in-use")
        assert trusting.result == "planned", trusting
        assert "processes of other users" in str(trusting.document["notes"]), trusting
        for verb, result in (("rollback", "restored"), ("commit", "changed")):
            kept = host.growdisk("expand", device, "--not-in-use", "--keep-snapshots")
            assert (kept.code, kept.result) == (0, "changed"), kept
            unsure = host.growdisk(verb, device)
            assert (unsure.code, "--not-in-use" in str(unsure.error["do"])) == (3, True), unsure
            assert host.growdisk(verb, device, "--not-in-use").result == result
    finally:
        os.chown(device, status.st_uid, status.st_gid)


def test_a_file_that_others_may_reach_from_elsewhere_is_told_in_the_plan(
    host: Host, image: Path
) -> None:
    assert "lies on" not in str(host.growdisk("plan", image).document.get("notes"))
    disk = RawFile.open(image, writable=True)
    with ExitStack() as stack:
        stack.callback(disk.close)
        place, _ = stack.enter_context(fuse_mounted({"guest.raw": disk}, cached=False))
        answer = host.growdisk("plan", place / "guest.raw")
        assert answer.result == "planned", answer
        assert "a guest of another host" in str(answer.document["notes"])


def test_what_begins_to_use_the_disk_during_a_run_stops_the_next_step(image: Path) -> None:
    file = RawFile.open(image, writable=True)
    try:
        file.refuse_in_use()
        with held(image, "rb"):
            file.refuse_in_use()  # a reader, as a backup is
        with held(image, "r+b") as pid, pytest.raises(ImageInUse, match=rf"\(pid {pid}\)"):
            file.refuse_in_use()
    finally:
        file.close()


def test_what_begins_to_use_the_device_during_a_run_stops_the_next_step(device: Path) -> None:
    file = RawFile.open(device, writable=True)
    try:
        file.refuse_in_use()
        with held(device, "rb") as pid, pytest.raises(ImageInUse, match=rf"\(pid {pid}\)"):
            file.refuse_in_use()
    finally:
        file.close()


def test_the_kernel_knows_of_those_who_cannot_be_seen(tmp_path: Path) -> None:
    """A lease saves looking through all processes: it must not say `nobody` if one writes."""
    image = tmp_path / "image.raw"
    image.write_bytes(bytes(MiB))
    assert others_write(image) == "nobody"
    with held(image, "rb"):
        assert others_write(image) == "nobody"
    with held(image, "r+b"):
        assert others_write(image) == "somebody"
    with image.open("r+b") as file:
        assert others_open(file.fileno()) == "nobody"
