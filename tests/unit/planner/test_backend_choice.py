"""Which backend a plan names: the one that will do the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.backends.available import why_no_uml
from growdisk.units import ByteRange, MiB
from tests.conftest import DiskMaker
from tests.e2e.process import need
from tests.guests.layouts import Layout
from tests.guests.small import SmallDisk
from tests.guests.swap import make_swap
from tests.guests.tools import run
from tests.unit.cli.command import growdisk, in_process

KERNEL = "guestfs" if why_no_uml() else "uml"
"""Whose kernel does what host tools cannot."""


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_what_only_a_kernel_grows_is_for_one(small_disk: DiskMaker, kind: str) -> None:
    disk = small_disk(disk=SmallDisk(Layout.PLAIN, 512 * MiB, filesystem=kind))
    planned = growdisk("plan", "--json", disk, "+1G")
    assert (planned.code, planned.json()["backend"]) == (0, KERNEL), planned
    refused = growdisk("plan", "--json", "--backend", "direct", disk, "+1G")
    assert (refused.code, "grow-filesystem" in refused.json()["error"]["why"]) == (3, True), refused


def test_a_kernel_that_runs_as_a_program_has_sixteen_disks(
    small_disk: DiskMaker, tmp_path: Path
) -> None:
    disk = small_disk(disk=SmallDisk(Layout.PLAIN, 512 * MiB, filesystem="xfs"))
    others: list[str | Path] = []
    for number in range(16):
        other = tmp_path / f"other{number}.raw"
        run("mke2fs", "-q", "-F", "-t", "ext4", other, "2m")
        others += ["--with", f"{other}=+2M"]
    refused = growdisk("plan", "--json", "--backend", "uml", disk, "+1G", *others)
    assert refused.code == 3 and "16 disks" in refused.json()["error"]["why"], refused
    if not why_no_uml():
        asked = growdisk("plan", "--json", "--backend", "uml", disk, "+1G", *others[:-2])
        assert (asked.code, asked.json()["backend"]) == (0, "uml"), asked


# --- what host tools would not do right, known before anything is written -------------------------

FILES = {
    "etc/fstab": "/dev/sda1 / ext4 defaults 0 1\n/dev/sda2 none swap sw 0 0\n",
    "boot/initrd.img-6.1": "x" * 9000,
}
MADE = {
    "plain": ((), "direct", "own tools"),
    "quota": (
        ("-O", "quota"),
        KERNEL,
        "/etc/fstab in the guest is in a file system that keeps quota",
    ),
    "clusters": (("-O", "bigalloc"), KERNEL, "bigalloc"),
    "small files in inodes": (("-O", "inline_data"), KERNEL, "inline_data"),
    "scattered descriptors": (("-O", "meta_bg,^resize_inode"), KERNEL, "meta_bg"),
    # No kernel that is started here mounts these.
    "names in any case": (("-O", "casefold"), "direct", "own tools"),
    "verity in small blocks": (("-O", "verity", "-b", "1024"), "direct", "own tools"),
    "clusters and names in any case": (("-O", "bigalloc,casefold"), "guestfs", "bigalloc"),
}


def disk_with(folder: Path, options: tuple[str, ...]) -> Path:
    """MBR: sda1 ext4 made with `options`, sda2 swap behind it."""
    image, tree = folder / "disk.raw", folder / "tree"
    for name, text in FILES.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    with image.open("wb") as file:
        file.truncate(41 * MiB)
    script = "label: dos\nstart=2048, size=65536, type=83\nstart=67584, size=14336, type=82\n"
    run("sfdisk", "-q", "--no-reread", image, stdin=script)
    place = f"root_owner=0:0,offset={MiB}"
    run("mke2fs", "-q", "-F", "-t", "ext4", *options, "-d", tree, "-E", place, image, "32m")
    make_swap(image, ByteRange(33 * MiB, 40 * MiB), uuid="5e1f0c1d-0000-4000-8000-0000000000aa")
    return image


@pytest.mark.parametrize("kind", MADE)
def test_what_debugfs_or_resize2fs_would_not_do_right_is_for_a_kernel(
    tmp_path: Path, kind: str
) -> None:
    options, backend, reason = MADE[kind]
    if backend == "direct":
        need("direct")
    plan = in_process("plan", disk_with(tmp_path, options), "+32M", "--json").json()
    assert plan["backend"] == backend
    assert reason in plan["backend_reason"]


def test_a_guest_that_was_not_shut_down_cleanly_is_for_a_kernel(tmp_path: Path) -> None:
    image = disk_with(tmp_path, ())
    run("debugfs", "-w", "-R", "feature needs_recovery", f"{image}?offset={MiB}")
    plan = in_process("plan", image, "+32M", "--json").json()
    assert plan["backend"] == KERNEL
    assert "not shut down cleanly" in plan["backend_reason"]


def test_who_asks_for_a_kernel_that_cannot_mount_the_guest_is_refused(tmp_path: Path) -> None:
    image = disk_with(tmp_path, ("-O", "casefold"))
    refused = growdisk("plan", "--json", "--backend", "uml", image, "+32M")
    assert refused.code == 3 and "does not mount" in refused.json()["error"]["why"], refused
    kept = ("--backend", "uml", "--swap", "move")
    assert growdisk("plan", "--json", image, "+32M", *kept).code == 0 or why_no_uml()


def test_who_asks_for_a_kernel_gets_it(tmp_path: Path) -> None:
    for name in {"guestfs", KERNEL}:
        plan = in_process(
            "plan", disk_with(tmp_path, ()), "+32M", "--json", "--backend", name
        ).json()
        assert (plan["backend"], plan["backend_reason"]) == (name, "as asked")


@pytest.mark.parametrize(("size", "backend"), [("100G", "direct"), ("3T", KERNEL)])
def test_a_file_system_of_terabytes_is_for_a_kernel_which_goes_not_through_all_of_it(
    tmp_path: Path, size: str, backend: str
) -> None:
    need("direct")
    image = tmp_path / "disk.raw"
    run("mke2fs", "-q", "-F", "-t", "ext4", image, "4g")
    run("truncate", "-s", size, image)
    plan = in_process("plan", image, "--json").json()
    assert plan["backend"] == backend, plan["backend_reason"]
    assert in_process("plan", image, "--json", "--backend", "direct").json()["backend"] == "direct"
