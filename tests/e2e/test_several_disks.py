"""A volume group on several disks grows with all of them in one run.

It goes back on all of them, and is finished or undone on all of them after SIGKILL; LVM's own tools
judge.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from growdisk.backends.available import why_no_uml
from tests.e2e.dying import Death, die
from tests.e2e.judges import assert_sound
from tests.e2e.process import Host
from tests.guests.appliance import quick_bench
from tests.guests.spanning import spanning_guests
from tests.guests.tools import run

pytestmark = [pytest.mark.appliance, pytest.mark.timeout(1200)]

NUMBERS = "".join(f"{number}\n" for number in range(1, 100001)).encode()


@pytest.fixture
def disks(tmp_path: Path) -> tuple[Path, Path]:
    """One with internal snapshots, one with overlays."""
    root, spare = tmp_path / "root.qcow2", tmp_path / "spare.raw"
    run("qemu-img", "convert", "-O", "qcow2", spanning_guests() / "root.raw", root)
    run("cp", "--sparse=always", spanning_guests() / "spare.raw", spare)
    spare.chmod(0o644)
    return root, spare


def assert_as_before(*images: Path) -> None:
    for image in images:
        kind = "qcow2" if image.suffix == ".qcow2" else "raw"
        run(
            "qemu-img", "compare", "-f", kind, "-F", "raw", image,
            spanning_guests() / f"{image.stem}.raw",
        )  # fmt: skip


def assert_filled(images: list[Path], group: str, extents: int) -> None:
    """The group is sound and full, its root has `extents` of 4 MiB and a sound file system."""
    with quick_bench(images, read_only=True) as judge:
        said = judge.run(
            f"lvm vgck {group}; lvm vgchange -ay {group} >&2\n"
            f"lvm vgs --noheadings -o vg_free_count,vg_missing_pv_count {group}\n"
            f"lvm lvs --noheadings --nosuffix --units b -o lv_size {group}/root\n"
            f"e2fsck -fn /dev/{group}/root >/tmp/said 2>&1\n"
            f"dumpe2fs -h /dev/{group}/root 2>/dev/null | grep -E '^Block (count|size)'\n"
            f"mkdir -p /tmp/l; mount -o ro /dev/{group}/root /tmp/l; cksum </tmp/l/numbers; "
            "umount /tmp/l"
        ).splitlines()
    free, size, blocks, block_size, numbers = said[-5:]
    assert free.split() == ["0", "0"], said
    assert (
        int(size) == int(blocks.split()[-1]) * int(block_size.split()[-1]) == extents * (4 << 20)
    ), said
    assert (
        numbers.split()
        == subprocess.run(["cksum"], input=NUMBERS, capture_output=True).stdout.decode().split()
    )


@pytest.mark.parametrize("kind", [pytest.param("guestfs", marks=pytest.mark.slow), "uml"])
def test_a_group_on_two_disks_grows_and_goes_back_on_both(
    disks: tuple[Path, Path], host: Host, kind: str
) -> None:
    if kind == "uml" and (reason := why_no_uml()):
        pytest.skip(f"no kernel runs as a program here: {reason}")
    host.backend = kind
    root, spare = disks
    alone = host.growdisk("expand", root, "+256M")
    assert alone.code == 3 and "volume group span also lies on another physical volume" in str(
        alone.error["why"]
    )
    assert "--with IMAGE" in str(alone.error["do"])
    answer = host.growdisk("expand", root, "+256M", "--with", spare, "--keep-snapshots")
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert "spare.raw: what LVM writes there is kept and taken back" in str(
        answer.document["notes"]
    )
    run("qemu-img", "check", "-q", root)
    # All of sda2 (it ends where the disk ends: 431 MiB) and all of the spare (96 MiB), each less
    # what LVM itself takes.
    assert_filled([root, spare], "span", 107 + 23)
    other = host.growdisk("expand", spare, "+64M", "--with", root)
    assert other.code == 3 and "root.qcow2 still has the snapshots of its last run" in str(
        other.error["what"]
    ), other
    back = host.growdisk("rollback", spare)
    assert (back.code, back.result) == (0, "restored"), back
    assert_as_before(root, spare)
    for image in (root, spare):
        assert_sound(image)


def test_the_other_disk_may_be_the_one_that_grows(disks: tuple[Path, Path], host: Host) -> None:
    root, spare = disks
    answer = host.growdisk("expand", spare, "+128M", "--with", root)
    assert (answer.code, answer.result) == (0, "changed"), answer
    for image in (root, spare):
        assert_sound(image)
    assert_filled([root, spare], "span", 43 + 55)
    again = host.growdisk("expand", spare, "--with", root)
    assert (again.code, again.result) == (0, "nochange"), again


@pytest.mark.parametrize("forward", [True, False], ids=["resume", "rollback"])
def test_killed_it_is_finished_or_undone_on_both(
    disks: tuple[Path, Path], host: Host, forward: bool
) -> None:
    root, spare = disks
    die(host, root, Death("applying", "grow-lv", 0.1), "expand", root, "+256M", "--with", spare)
    other = host.growdisk("expand", spare, "+64M", "--with", root)
    assert other.code == 3 and "root.qcow2 still has an unfinished run" in str(
        other.error["what"]
    ), other
    assert host.growdisk("status", spare).document["state"] == "unfinished"
    if not forward:
        answer = host.growdisk("rollback", root)
        assert (answer.code, answer.result) == (0, "restored"), answer
        assert_as_before(root, spare)
        return
    die(host, root, Death("applied", "grow-lv", 0.1), "resume", root)
    answer = host.growdisk("resume", spare)
    assert (answer.code, answer.result) in ((0, "changed"), (0, "nochange")), answer
    for image in (root, spare):
        assert_sound(image)
    assert_filled([root, spare], "span", 107 + 23)


def test_an_extra_disk_that_somebody_wrote_to_meanwhile_stops_resume_and_rollback(
    disks: tuple[Path, Path], host: Host
) -> None:
    root, spare = disks
    die(
        host, root, Death("applied", "resize-image", 0.01), "expand", root, "+256M", "--with", spare
    )
    with spare.open("r+b") as file:
        file.seek(90 << 20)
        file.write(b"something else")
    answer = host.growdisk("resume", root)
    assert answer.code == 3 and "spare.raw is not as growdisk left it" in str(
        answer.error["what"]
    ), answer


def test_a_group_on_two_partitions_of_one_disk_grows(tmp_path: Path, host: Host) -> None:
    image = tmp_path / "twins.qcow2"
    run("qemu-img", "convert", "-O", "qcow2", spanning_guests() / "twins.raw", image)
    both = host.growdisk(
        "expand", image, "+128M", "--grow", "sda1=50%", "--grow", "sda2=rest", "--move", "2"
    )
    assert both.code == 3, both
    answer = host.growdisk("expand", image, "+128M")
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert_sound(image)
    assert_filled([image], "twin", 15 + 55)


def test_a_group_that_two_growing_disks_share_is_refused(
    disks: tuple[Path, Path], host: Host
) -> None:
    root, spare = disks
    answer = host.growdisk("plan", root, "+64M", "--with", f"{spare}=+64M")
    assert answer.code == 3 and "group span lies on both disks" in str(answer.error["why"]), answer


def test_a_disk_that_has_nothing_to_do_with_it_is_refused(
    disks: tuple[Path, Path], tmp_path: Path, host: Host
) -> None:
    root, _ = disks
    other = tmp_path / "other.raw"
    with other.open("wb") as file:
        file.truncate(16 << 20)
    answer = host.growdisk("plan", root, "+64M", "--with", other)
    assert answer.code == 3 and "no volume group of this image lies on it" in str(
        answer.error["why"]
    ), answer
    twice = host.growdisk("plan", root, "+64M", "--with", root)
    assert twice.code == 3 and "one and the same image" in str(twice.error["why"]), twice
