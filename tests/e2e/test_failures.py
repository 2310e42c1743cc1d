"""Every tool fails once: the run is taken back, exit 4, with why and what to do.

If there is no way back, exit 5 says so. The failures are real: a full file system, a file size
limit, damage that e2fsck refuses to repair by itself, a QEMU that does not start.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.conftest import DiskMaker
from tests.e2e.judges import Before, assert_grown, assert_unchanged
from tests.e2e.process import Answer, Host, wait_for
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run

pytestmark = pytest.mark.appliance

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
_ROOT_AT = f"?offset={MiB}"


def small(kind: str = "qcow2") -> SmallDisk:
    return SmallDisk(size=128 * MiB, swap_size=16 * MiB, image_format=kind)


def assert_restored(answer: Answer, image: Path, before: Before, host: Host) -> None:
    assert (answer.code, answer.result) == (4, "restored"), answer
    assert "everything is back as it was" in str(answer.error["what"])
    assert answer.error["do"]
    assert host.left_files() == []
    assert_unchanged(image, before)


def break_qemu(host: Host) -> None:
    """A QEMU that answers libguestfs's questions and does not boot anything."""
    script = host.scratch.with_name(f"{host.scratch.name}-qemu")
    script.write_text(
        "#!/bin/sh\n"
        "case \"$*\" in *guestfsd.sock*) echo 'qemu-system-x86_64: cannot set up guest memory' "
        ">&2; exit 1 ;; esac\n"
        'exec qemu-system-x86_64 "$@"\n'
    )
    script.chmod(0o755)
    host.environment["LIBGUESTFS_HV"] = str(script)
    host.backend = "guestfs"


@pytest.fixture
def broken_qemu(host: Host) -> Iterator[Host]:
    break_qemu(host)
    yield host
    Path(host.environment["LIBGUESTFS_HV"]).unlink()


@pytest.mark.parametrize("name", ["guest.qcow2", "guest.raw"])
def test_an_appliance_that_does_not_start(
    small_disk: DiskMaker, broken_qemu: Host, name: str
) -> None:
    kind = name.partition(".")[2]
    image = small_disk(name, small(kind))
    before = Before.of(image, kind)
    answer = broken_qemu.growdisk("expand", image, "+1G")
    assert_restored(answer, image, before, broken_qemu)
    assert "cannot set up guest memory" in str(answer.error["why"])


def break_tool(host: Host, tool: str) -> None:
    """`tool` says no, whoever confines it."""
    folder = host.scratch.with_name(f"{host.scratch.name}-bin")
    folder.mkdir(exist_ok=True)
    (folder / "bwrap").write_text(
        f"#!/bin/sh\ncase \"$*\" in *' {tool} '*) echo '{tool}: I will not' >&2; exit 1 ;; esac\n"
        'exec /usr/bin/bwrap "$@"\n'
    )
    (folder / "bwrap").chmod(0o755)
    host.environment["PATH"] = f"{folder}:{host.environment['PATH']}"


@pytest.fixture
def breaking(host: Host) -> Iterator[Callable[[str], None]]:
    yield lambda tool: break_tool(host, tool)
    shutil.rmtree(host.scratch.with_name(f"{host.scratch.name}-bin"))


@pytest.mark.parametrize("tool", ["sfdisk", "e2fsck", "resize2fs", "debugfs"])
@pytest.mark.parametrize("name", ["guest.qcow2", "guest.raw"])
def test_a_tool_of_this_machine_that_fails(
    small_disk: DiskMaker, host: Host, breaking: Callable[[str], None], name: str, tool: str
) -> None:
    kind = name.partition(".")[2]
    image = small_disk(name, small(kind))
    before = Before.of(image, kind)
    breaking(tool)
    host.backend = "direct"
    answer = host.growdisk("expand", image, "+1G")
    assert_restored(answer, image, before, host)
    assert f"{tool}: I will not" in str(answer.error["why"])


def test_a_machine_without_qemu_is_refused_before_anything_is_touched(
    small_disk: DiskMaker, host: Host, tmp_path: Path
) -> None:
    image = small_disk(disk=small())
    before = image.read_bytes()
    host.environment["PATH"] = str(tmp_path)
    answer = host.growdisk("expand", image, "+1G")
    assert (answer.code, answer.error["do"]) == (3, "sudo apt-get install qemu-system-x86")
    assert image.read_bytes() == before
    assert not image.with_name(image.name + ".growdisk").exists()


def test_without_snapshots_a_failed_run_stops_and_is_gone_on_with(
    small_disk: DiskMaker, host: Host, breaking: Callable[[str], None]
) -> None:
    image = small_disk(disk=small())
    before = Before.of(image)
    path = host.environment["PATH"]
    breaking("resize2fs")
    host.backend = "direct"
    answer = host.growdisk("expand", image, "+1G", "--snapshots", "none")
    assert (answer.code, answer.result) == (5, "stuck")
    assert "no way back" in str(answer.error["what"]) and "resume" in str(answer.error["do"])
    assert host.growdisk("status", image).document["next"] == ["resume"]
    assert host.growdisk("rollback", image).code == 5
    host.environment["PATH"] = path
    answer = host.growdisk("resume", image)
    assert (answer.code, answer.result) == (0, "changed")
    assert_grown(image, before)


def test_a_snapshot_that_somebody_removed_cannot_be_restored(
    small_disk: DiskMaker, host: Host
) -> None:
    image = small_disk("guest.raw", small("raw"))
    host.backend = "guestfs"  # for its slowness
    command = host.start("expand", image, "+1G")
    wait_for(command, image, "applying", "reread-partitions")
    (image.with_name("guest.raw.growdisk") / "02-rewrite-partitions.qcow2").unlink()
    command.process.terminate()
    answer = command.ended()
    assert (answer.code, answer.result) == (5, "stuck")
    assert "rewrite-partitions" in str(answer.error["why"])
    assert host.growdisk("status", image).document["state"] == "unfinished"


@pytest.mark.parametrize(
    "backend",
    # tests/contract/test_appliances.py has the words of e2fsck in there
    ["direct", pytest.param("guestfs", marks=pytest.mark.slow)],
)
def test_damage_that_e2fsck_does_not_mend_by_itself(
    small_disk: DiskMaker, host: Host, backend: str
) -> None:
    host.backend = backend
    image = small_disk("guest.raw", small("raw"))
    damage(image)
    before = Before.of(image, "raw")
    answer = host.growdisk("expand", image, "+1G")
    assert_restored(answer, image, before, host)
    assert "file system on partition 1" in str(answer.error["why"])
    assert "e2fsck" in str(answer.error["do"])


def damage(image: Path) -> None:
    """A directory's inode is gone: its children hang in the air."""
    where = f"{image}{_ROOT_AT}"
    run("debugfs", "-w", "-R", "clri /srv/odd", where)
    check = subprocess.run(["/sbin/e2fsck", "-f", "-n", where], capture_output=True, text=True)
    assert check.returncode == 4, check.stdout


@pytest.mark.parametrize("backend", ["direct", "guestfs"])
def test_a_file_system_with_a_feature_that_no_tool_knows(
    small_disk: DiskMaker, host: Host, backend: str
) -> None:
    host.backend = backend
    image = small_disk("guest.raw", small("raw"))
    run("debugfs", "-w", "-R", "feature FEATURE_R30", f"{image}{_ROOT_AT}")
    copy = image.with_name("copy.raw")
    run("cp", "--sparse=always", image, copy)
    answer = host.growdisk("expand", image, "+1G")
    assert (answer.code, answer.result) == (3, "refused")  # the plan sees it already
    assert "FEATURE_R30" in str(answer.error["why"]), answer.error
    run("cmp", image, copy)


# --- full disks ---------------------------------------------------------------------------------


@contextmanager
def mounted(directory: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes."""
    directory.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "growdisk-test", directory)
    try:
        yield directory
    finally:
        run("umount", directory)


def fill(directory: Path, *, alone: bool = True) -> None:
    subprocess.run(["dd", "if=/dev/zero", f"of={directory}/filler", "bs=4k"], capture_output=True)
    assert os.statvfs(directory).f_bavail == 0 or not alone  # a run beside it may give room back


_RESERVE = 8 * MiB


@needs_root
@pytest.mark.parametrize(
    ("name", "room", "backend"),
    [
        ("guest.qcow2", 24 * MiB, "guestfs"),
        pytest.param("guest.raw", 48 * MiB, "guestfs", marks=pytest.mark.slow),
        ("guest.qcow2", 24 * MiB, "direct"),
        ("guest.raw", 48 * MiB, "direct"),
    ],
)
def test_a_host_disk_that_fills_up_while_the_file_system_grows(
    tmp_path: Path, host: Host, name: str, room: int, backend: str
) -> None:
    host.backend = backend
    kind = name.partition(".")[2]
    made = make_disk(tmp_path / name, small(kind))
    with mounted(tmp_path / "full", made.stat().st_blocks * 512 + _RESERVE + room) as directory:
        image = directory / name
        run("cp", "--sparse=always", made, image)
        before = Before.of(made, kind)
        command = host.start("expand", image, "+20G")
        wait_for(command, image, "applying", "reread-partitions")
        fill(directory, alone=False)
        answer = command.ended()
        assert_restored(answer, image, before, host)
        assert "No space left on device" in str(answer.error["why"])
        assert "free some space" in str(answer.error["do"])


@needs_root
def test_a_killed_run_is_rolled_back_on_a_disk_that_is_full_meanwhile(
    tmp_path: Path, host: Host
) -> None:
    made = make_disk(tmp_path / "guest.qcow2", small())
    with mounted(tmp_path / "full", 32 * MiB) as directory:
        image = directory / "guest.qcow2"
        run("cp", "--sparse=always", made, image)
        before = Before.of(made)
        command = host.start("expand", image, "+1G")
        wait_for(command, image, "applying", "reread-partitions")
        command.kill()
        fill(directory)
        answer = host.growdisk("rollback", image)
        assert (answer.code, answer.result) == (0, "restored")
        assert_unchanged(image, before)


@needs_root
def test_a_disk_without_room_for_a_way_back_is_refused(tmp_path: Path, host: Host) -> None:
    made = make_disk(tmp_path / "guest.qcow2", small())
    with mounted(tmp_path / "full", made.stat().st_size + 4 * MiB) as directory:
        image = directory / "guest.qcow2"
        run("cp", "--sparse=always", made, image)
        answer = host.growdisk("expand", image, "+1G")
        assert answer.code == 3
        assert "MiB are free" in str(answer.error["why"])
        assert "free at least" in str(answer.error["do"])
        run("cmp", image, made)
        assert host.growdisk("status", image).document["state"] == "none"


@needs_root
def test_a_host_disk_that_fills_up_at_the_very_end_leaves_all_done_or_undone(
    tmp_path: Path, host: Host
) -> None:
    made = make_disk(
        tmp_path / "guest.qcow2",
        SmallDisk(size=128 * MiB, swap_size=16 * MiB, qcow2_options="compat=0.10"),
    )
    with mounted(tmp_path / "full", 64 * MiB) as directory:
        image = directory / "guest.qcow2"
        run("cp", "--sparse=always", made, image)
        before = Before.of(made)
        host.backend = "guestfs"
        command = host.start("expand", image, "+1G")
        # now the appliance is ended, which takes a moment
        wait_for(command, image, "verified", "repair-guest")
        fill(directory, alone=False)
        answer = command.ended()
        if answer.code == 0:  # what it takes had been taken already
            assert_grown(image, before)
        else:
            assert_restored(answer, image, before, host)


@pytest.mark.parametrize("backend", ["direct", "guestfs"])
def test_a_file_size_limit(small_disk: DiskMaker, host: Host, backend: str) -> None:
    host.backend = backend
    image = small_disk(disk=small())
    # larger than the reserve
    run("qemu-io", "-f", "qcow2", "-c", f"write -P 7 {80 * MiB} 12M", image)
    before = Before.of(image)
    host.prefix = ("prlimit", f"--fsize={image.stat().st_size + MiB}")
    answer = host.growdisk("expand", image, "+20G")
    assert (answer.code, answer.result) == (3, "refused")
    assert "ulimit -f" in str(answer.error["why"])
    assert_unchanged(image, before)
