"""Growth is judged by another tool before it counts, and nothing a kernel knows is lost."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from growdisk.backends.direct import DirectTools
from growdisk.block.raw import RawFile
from growdisk.units import MiB
from tests.e2e.conftest import host
from tests.e2e.process import Host, need
from tests.fuzz.disks.kernel import kernel_on
from tests.guests.tools import place_content, run
from tests.refusals import raises

__all__ = ["host"]


def disk_with(image: Path, size: int, *mkfs: str) -> Path:
    """A raw GPT disk whose one partition, from 1 MiB on, holds what `mkfs` makes."""
    alone = image.with_suffix(".alone")
    for path, length in ((image, size + 2 * MiB), (alone, size)):
        with path.open("wb") as file:
            file.truncate(length)
    run(*mkfs, alone)
    run(
        "sfdisk",
        "-q",
        "--no-reread",
        image,
        stdin=f"label: gpt\nstart=2048, size={size // 512}, type=L\n",
    )
    place_content(alone, image, MiB)
    return image


@pytest.mark.parametrize("backend", ["direct", "uml", "auto"])
@pytest.mark.parametrize(
    ("options", "growth"),
    [("orphan_file,metadata_csum", "+3G"), ("orphan_file,metadata_csum_seed,quota", "+700M")],
)
def test_an_ext4_with_an_orphan_file_is_mounted_by_a_kernel_afterwards(
    tmp_path: Path, host: Host, backend: str, options: str, growth: str
) -> None:
    need("uml")
    need("direct")
    image = disk_with(
        tmp_path / "disk.raw", 96 * MiB, "mke2fs", "-q", "-F", "-t", "ext4", "-O", options
    )
    answer = host.growdisk("expand", image, growth, "--backend", backend)
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert answer.document["backend"] == ("uml" if backend == "auto" else backend)
    run("e2fsck", "-fn", f"{image}?offset={MiB}")
    with kernel_on(image) as kernel:
        kernel.must("mkdir -p /tmp/m; mount -t ext4 -o ro /dev/sda1 /tmp/m")


@pytest.mark.parametrize("backend", ["direct", "uml", pytest.param("auto", marks=pytest.mark.slow)])
@pytest.mark.parametrize("options", ["verity", "encrypt,verity", "casefold"])
def test_an_ext4_that_the_judges_kernel_does_not_mount_is_grown_and_checked_all_the_same(
    tmp_path: Path, host: Host, backend: str, options: str
) -> None:
    need("uml")
    need("direct")
    mkfs = ("mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-O", options)
    answer = host.growdisk(
        "expand", disk_with(tmp_path / "disk.raw", 96 * MiB, *mkfs), "+40M", "--backend", backend
    )
    assert (answer.code, answer.result) == (0, "changed"), answer
    run("e2fsck", "-fn", f"{tmp_path / 'disk.raw'}?offset={MiB}")


def test_a_tiny_file_system_becomes_a_huge_one_by_a_kernel_where_resize2fs_fails(
    tmp_path: Path, host: Host
) -> None:
    need("uml")
    image = disk_with(
        tmp_path / "disk.raw", 8 * MiB, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096"
    )
    answer = host.growdisk("expand", image, "+60G")
    assert (answer.code, answer.document["backend"]) == (0, "uml"), answer
    run("e2fsck", "-fn", f"{image}?offset={MiB}")


def test_the_judge_does_not_let_a_damaged_file_system_pass(tmp_path: Path) -> None:
    need("direct")
    image = disk_with(
        tmp_path / "disk.raw", 64 * MiB, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096"
    )
    bitmap = int(run("dumpe2fs", f"{image}?offset={MiB}").split("Inode table at ")[1].split("-")[0])
    with image.open("r+b") as file:
        file.seek(MiB + bitmap * 4096 + 256)  # the root folder's inode
        file.write(b"\xff" * 64)
    device = RawFile.open(image, writable=True)
    tools = DirectTools(device, image)
    try:
        with raises("filesystem-unsound", match="e2fsck"):
            tools.judge("ext4", "/dev/sda1")
    finally:
        tools.close()
        device.close()


@pytest.mark.slow
def test_an_xfs_that_gets_thousands_of_groups_gets_them_in_parts(
    tmp_path: Path, host: Host
) -> None:
    """A kernel keeps all that it makes at once in memory: 40,000 groups took all of it."""
    need("uml")
    make = ("mkfs.xfs", "-q", "--unsupported", "-d", "agsize=16m")
    image = disk_with(tmp_path / "disk.raw", 64 * MiB, *make)
    answer = host.growdisk("-x", "expand", image, "66G")
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert answer.said.count("xfs_growfs -D") == 1
    with kernel_on(image) as kernel:
        kernel.must("mkdir -p /tmp/m; mount -t xfs -o ro,norecovery /dev/sda1 /tmp/m")
        assert "agcount=4224" in kernel.must("xfs_growfs -n /tmp/m")


def test_what_was_synced_last_on_an_f2fs_that_was_never_unmounted_is_still_there(
    tmp_path: Path, host: Host
) -> None:
    """fsck.f2fs and resize.f2fs cut off the chain of what was synced after the last checkpoint."""
    need("uml")
    image = disk_with(tmp_path / "disk.raw", 200 * MiB, "mkfs.f2fs", "-q")
    with suppress(KeyError), kernel_on(image) as kernel:
        kernel.must(
            "mkdir -p /tmp/m; mount -t f2fs /dev/sda1 /tmp/m && cd /tmp/m && seq 3000 >first && "
            "sync"
        )
        kernel.must("cd /tmp/m && dd if=first of=last conv=fsync")
        raise KeyError  # the power goes
    refused = host.growdisk("expand", image, "+100M", "--backend", "direct")
    assert (refused.code, "unmounted in order" in str(refused.error["why"])) == (3, True), refused
    answer = host.growdisk("expand", image, "+100M")
    assert (answer.code, answer.document["backend"]) == (0, "uml"), answer
    with kernel_on(image) as kernel:
        kernel.must(
            "mkdir -p /tmp/m; mount -t f2fs -o ro /dev/sda1 /tmp/m && cd /tmp/m && cmp first last"
        )


def test_an_ntfs_whose_log_windows_has_not_yet_carried_out_is_refused(
    tmp_path: Path, host: Host
) -> None:
    image = disk_with(tmp_path / "disk.raw", 64 * MiB, "mkntfs", "-q", "-F", "-f")
    place = image.read_bytes().find(b"\xff" * 65536)  # mkntfs leaves an empty log
    page = bytearray(4096)
    page[0:4], page[24:26] = b"RSTR", (48).to_bytes(2, "little")
    # its number, and a client that uses it
    page[48:56], page[60:62] = (7).to_bytes(8, "little"), bytes(2)
    with image.open("r+b") as file:
        file.seek(-(-(place - MiB) // 4096) * 4096 + MiB)
        file.write(page * 2)
    assert "dirty" in str(host.growdisk("expand", image, "+100M").error["why"])
    page[62:64] = (2).to_bytes(2, "little")  # the volume is clean
    with image.open("r+b") as file:
        file.seek(-(-(place - MiB) // 4096) * 4096 + MiB)
        file.write(page * 2)
    assert host.growdisk("plan", image, "+100M").code == 0


@pytest.mark.parametrize(
    "last",
    ["lvm lvchange -ky g/root", "lvm vgchange -y --config 'global {system_id_source=lvmlocal} "
     "local {system_id=its-own}' --systemid its-own g"],
    ids=["activation skip", "system ID"],
)  # fmt: skip
def test_a_volume_that_lvm_would_not_activate_for_us_grows_all_the_same(
    tmp_path: Path, host: Host, last: str
) -> None:
    need("uml")
    image = disk_with(tmp_path / "disk.raw", 96 * MiB, "true")
    with kernel_on(image) as kernel:
        kernel.must(
            "lvm pvcreate /dev/sda1; lvm vgcreate g /dev/sda1; lvm lvcreate -y -L 40M -n root g"
        )
        kernel.must("mke2fs -q -t ext4 /dev/g/root; lvm vgchange -an g; " + last)
    answer = host.growdisk("expand", image, "+200M")
    assert (answer.code, answer.result) == (0, "changed"), answer
    (volume,) = answer.document["after"]["volumes"]  # type: ignore[index]
    assert volume["content"]["size"] > 200 * MiB


@pytest.mark.parametrize(
    ("modules", "create"),
    [
        ("dm-thin-pool", "--config 'global/thin_check_executable=\"\"' -L 16M -T g/pool"),
        pytest.param(
            *("dm-raid", "--type raid1 -m1 --nosync --alloc anywhere -L 8M -n other g"),
            marks=pytest.mark.slow,
        ),
        pytest.param("dm-zero", "--type zero -L 8M -n other g", marks=pytest.mark.slow),
    ],
    ids=["thin pool", "raid1", "zero"],
)
def test_a_volume_grows_beside_one_of_a_kind_that_the_kernel_has_not_loaded(
    tmp_path: Path, host: Host, modules: str, create: str
) -> None:
    """As on every Proxmox machine: root beside a thin pool."""
    need("uml")
    image = disk_with(tmp_path / "disk.raw", 128 * MiB, "true")
    with kernel_on(image) as kernel:
        kernel.must(
            "lvm pvcreate /dev/sda1; lvm vgcreate g /dev/sda1; lvm lvcreate -y -L 40M -n root g"
        )
        kernel.must(
            f"mke2fs -q -t ext4 /dev/g/root; modprobe {modules}; lvm lvcreate -y {create}; lvm "
            "vgchange -an g"
        )
    answer = host.growdisk("expand", image, "+200M")
    assert (answer.code, answer.result) == (0, "changed"), answer
    root = next(
        volume for volume in answer.document["after"]["volumes"] if volume["name"] == "g/root"
    )  # type: ignore[index]
    assert root["content"]["size"] > 200 * MiB


def test_volumes_that_lvm_cannot_tell_apart_are_refused(tmp_path: Path, host: Host) -> None:
    need("uml")
    image, part = tmp_path / "disk.raw", 40 * MiB // 512
    with image.open("wb") as file:
        file.truncate(122 * MiB)
    run(
        "sfdisk",
        "-q",
        "--no-reread",
        image,
        stdin=f"label: gpt\n2048,{part},V\n{2048 + part + 2048},{part},V\n",
    )
    with kernel_on(image) as kernel:
        kernel.must(
            "lvm pvcreate /dev/sda1; lvm vgcreate g /dev/sda1; lvm lvcreate -y -L 20M -n root g"
        )
        kernel.must(
            "mke2fs -q -t ext4 /dev/g/root; lvm vgchange -an g; dd if=/dev/sda1 of=/dev/sda2 "
            "bs=1M 2>/dev/null"
        )
    assert "one is a copy of the other" in str(host.growdisk("expand", image, "+200M").error["why"])
    with kernel_on(image) as kernel:
        kernel.must("lvm vgimportclone -n g2 /dev/sda2; lvm vgs")
    answer = host.growdisk("plan", image, "+200M")
    assert answer.code == 0, answer


def test_a_physical_volume_whose_group_is_described_elsewhere_is_not_called_one_without_a_group(
    tmp_path: Path, host: Host
) -> None:
    need("uml")
    image, part = tmp_path / "disk.raw", 40 * MiB // 512
    with image.open("wb") as file:
        file.truncate(122 * MiB)
    run(
        "sfdisk",
        "-q",
        "--no-reread",
        image,
        stdin=f"label: gpt\n2048,{part},V\n{2048 + part + 2048},{part},V\n",
    )
    with kernel_on(image) as kernel:
        kernel.must("lvm pvcreate /dev/sda1 /dev/sda2; lvm vgcreate g /dev/sda1 /dev/sda2")
        kernel.must("lvm pvchange -y --metadataignore y /dev/sda2")
    why = str(host.growdisk("plan", image, "+200M", "--partition", "2").error["why"])
    assert "stands on other physical volumes alone" in why
