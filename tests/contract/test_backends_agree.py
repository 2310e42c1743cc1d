"""Every backend does the same work on the same disks: compared by file and by table.

First the hands alone, on one disk with an ext file system of every make; then whole runs on every
layout.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from growdisk.backends.appliance import Appliance
from growdisk.backends.available import why_no_uml as kernel_obstacle
from growdisk.backends.direct import DirectTools
from growdisk.backends.ext_check import CheckState
from growdisk.block.raw import RawFile
from growdisk.errors import ToolFailed
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.guest_config.repair import repair_guest
from growdisk.units import MiB
from tests.conftest import DiskMaker
from tests.contract.appliances import KINDS, served
from tests.e2e.conftest import host
from tests.e2e.judges import assert_sound, image_format
from tests.e2e.process import Host, need
from tests.guests.ext2fs import open_ext
from tests.guests.layered import KEYS, layered_guests
from tests.guests.layouts import Layout
from tests.guests.manifest import FileFacts, Manifest, _facts, as_raw, differences
from tests.guests.small import SmallDisk
from tests.guests.tools import run

pytestmark = pytest.mark.appliance
__all__ = ["host"]

NAMES = ("direct", *KINDS)
# What only an emulated machine tells: the other kernel's work on the same disks is like its own.
EMULATED = ("ext4", "ext4 that counts", "ext4 in clusters", "ext2")
UUID = "3f9a2c1e-5b7d-4c88-9a10-0c2d4e6f8a1b"
ROOM, MADE, GROWN, SWAP_FILE = 64 * MiB, 40 * MiB, 60 * MiB, 4 * MiB
NAMED = (
    "/etc/fstab",
    "/etc/initramfs-tools/conf.d/resume",
    "/boot/initrd.img-6.1",
    "/swapfile",
    "/",
)
ZOO = {
    "ext4": ("-t", "ext4"),
    "ext4 with blocks of 1 KiB": ("-t", "ext4", "-b", "1024"),
    "ext4 as of old": ("-t", "ext4", "-O", "^metadata_csum,^64bit,^flex_bg"),
    "ext4 that counts": ("-t", "ext4", "-O", "quota,project"),
    "ext4 without room for descriptors": ("-t", "ext4", "-O", "^resize_inode"),
    "ext4 in clusters": ("-t", "ext4", "-O", "bigalloc", "-C", "65536"),
    "ext4 with two superblocks": ("-t", "ext4", "-O", "sparse_super2,^resize_inode"),
    "ext3": ("-t", "ext3"),
    "ext2": ("-t", "ext2"),
    "ext4 with data in inodes": ("-t", "ext4", "-O", "inline_data"),
    "ext4 with scattered descriptors": ("-t", "ext4", "-O", "meta_bg,^resize_inode"),
}
NOT_DIRECT = {  # the words of the refusal; the planner knows all of them beforehand
    "ext4 that counts": "quota",
    "ext4 in clusters": "bigalloc",
    "ext4 with data in inodes": "inline_data",
}


@dataclass(frozen=True)
class Outcome:
    """What a backend left of one file system, and what it said."""

    checked: CheckState
    refused: str
    blocks: str
    files: Manifest


def tree(folder: Path) -> Path:
    for name in ("etc/initramfs-tools/conf.d", "etc/selinux", "boot", "home"):
        (folder / name).mkdir(parents=True)
    (folder / "etc/fstab").write_text(f"UUID=1 / ext4 defaults 0 1\nUUID={UUID} none swap sw 0 0\n")
    (folder / "etc/selinux/config").write_text("SELINUX=enforcing\nSELINUXTYPE=targeted\n")
    (folder / "etc/initramfs-tools/conf.d/resume").write_text(f"RESUME=UUID={UUID}\n")
    (folder / "boot/initrd.img-6.1").write_bytes(b"\x1f\x8b" + bytes(range(256)) * 4000)
    (folder / "boot/initrd.img-6.1").chmod(0o640)
    (folder / "home/link").symlink_to("../etc/fstab")
    (folder / "home/other").write_bytes(b"x" * 300_000)
    os.link(folder / "home/other", folder / "home/twin")
    return folder


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    image, files = folder / "zoo.raw", tree(folder / "tree")
    with image.open("wb") as file:
        file.truncate((len(ZOO) + 1) * ROOM)
    lines = [
        f"start={number * ROOM // 512}, size={ROOM // 512}, type=L" for number in range(1, len(ZOO))
    ]
    lines.append(f"start={len(ZOO) * ROOM // 512}, type=L")
    run("sfdisk", "-q", "--no-reread", image, stdin="\n".join(["label: gpt", *lines, ""]))
    for number, options in enumerate(ZOO.values(), 1):
        place = f"root_owner=0:0,lazy_itable_init=1,offset={number * ROOM}"
        run("mke2fs", "-q", "-F", *options, "-d", files, "-E", place, image, f"{MADE >> 10}k")
    return image


@contextmanager
def hands(name: str, device: RawFile, path: Path) -> Iterator[Appliance | DirectTools]:
    if name == "direct":
        tools = DirectTools(device, path)
        try:
            yield tools
        finally:
            tools.close()
    else:
        with served(name, device) as (_, launched), launched() as appliance:
            yield appliance


def work_on(backend: Appliance | DirectTools, device: str) -> tuple[CheckState, str]:
    checked = backend.check_ext(device).state
    swap = RemovedPartition(number=99, uuid=UUID)
    try:
        backend.resize_ext(device, GROWN)
        with backend.mounted_guest(device) as guest:
            assert guest.glob("/boot/initrd*") == ["/boot/initrd.img-6.1"]
            guest.make_swap_file("/swapfile", SWAP_FILE, UUID, 4096)
            assert len(repair_guest(guest, swap, SwapRemedy.FILE)) == 3
            assert repair_guest(guest, swap, SwapRemedy.FILE) == ()
            assert guest.read("/home/link") == guest.read("/etc/fstab")
    except ToolFailed as error:
        return checked, f"{error.detail}: {error.hint}"
    finally:
        backend.sync()
    return checked, ""


def outcomes(
    name: str, image: Path, kinds: Collection[str]
) -> tuple[dict[int, tuple[int, int]], dict[str, Outcome]]:
    device = RawFile.open(image, writable=True)
    with hands(name, device, image) as backend:
        partitions = backend.kernel_partitions()
        said = {
            kind: work_on(backend, f"/dev/sda{number}")
            for number, kind in enumerate(ZOO, 1)
            if kind in kinds
        }
    device.close()
    return partitions, {
        kind: Outcome(*said[kind], *_seen(image, number * ROOM))
        for number, kind in enumerate(ZOO, 1)
        if kind in kinds
    }


def _seen(image: Path, offset: int) -> tuple[str, Manifest]:
    run("e2fsck", "-f", "-n", f"{image}?offset={offset}")
    blocks = re.findall(r"Block count:\s+(\d+)", run("dumpe2fs", "-h", f"{image}?offset={offset}"))
    with open_ext(image, offset) as filesystem:
        return blocks[0], {path: _timeless(path, facts) for path, facts in _facts(filesystem)}


def _timeless(path: str, facts: FileFacts) -> FileFacts:
    """What is repaired has the time of the repair.

    A label may end with a zero byte: to a kernel it is the same.
    """
    facts = replace(
        facts, xattrs=tuple((name, value.removesuffix("00")) for name, value in facts.xattrs)
    )
    return (
        replace(facts, mtime=0) if path in NAMED or path.startswith("/boot/initrd.img") else facts
    )


@pytest.fixture(scope="module")
def results(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple]:
    need("direct")
    need("uml")
    found = {}
    for name in NAMES:
        copy = tmp_path_factory.mktemp(name) / "zoo.raw"
        run("cp", "--sparse=always", zoo, copy)
        found[name] = outcomes(name, copy, EMULATED if name == "guestfs" else ZOO)
        copy.unlink()
    return found


def test_the_same_partitions_are_seen(results: dict[str, tuple]) -> None:
    assert results["direct"][0] == results["guestfs"][0] == results["uml"][0]


@pytest.mark.parametrize("kind", ZOO)
def test_the_same_file_system_comes_out(results: dict[str, tuple], kind: str) -> None:
    direct, uml = results["direct"][1][kind], results["uml"][1][kind]
    assert direct.checked == uml.checked
    assert uml.refused == ""
    if kind in EMULATED:
        assert_agree(results["guestfs"][1][kind], uml)
    if kind in NOT_DIRECT:
        assert NOT_DIRECT[kind] in direct.refused
    else:
        assert direct.refused == ""
        assert direct.blocks == uml.blocks
        assert differences(uml.files, direct.files) == []
        assert direct.files["/swapfile"].mode == 0o100600
        assert direct.files["/swapfile"].xattrs == (
            ("security.selinux", b"system_u:object_r:swapfile_t:s0".hex()),
        )


def assert_agree(emulated: Outcome, program: Outcome) -> None:
    assert emulated.checked == program.checked
    assert emulated.refused == program.refused
    assert emulated.blocks == program.blocks
    assert differences(emulated.files, program.files) == []


@pytest.mark.slow
def test_both_kernels_agree_on_every_kind(zoo: Path, tmp_path: Path) -> None:
    need("uml")
    found = {}
    for name in KINDS:
        run("cp", "--sparse=always", zoo, tmp_path / "zoo.raw")
        _, found[name] = outcomes(name, tmp_path / "zoo.raw", ZOO)
    for kind in ZOO:
        assert_agree(found["guestfs"][kind], found["uml"][kind])


_slow = partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("label", "name"),
    [*product(("dos", "gpt"), ("direct", "uml")), ("dos", "guestfs"), _slow("gpt", "guestfs")],
)
def test_a_table_may_have_no_partitions(tmp_path: Path, name: str, label: str) -> None:
    need(name)
    image = tmp_path / "disk.raw"
    with image.open("wb") as file:
        file.truncate(4 << 20)
    run("sfdisk", "-q", "--no-reread", image, stdin=f"label: {label}\n")
    device = RawFile.open(image, writable=True)
    with hands(name, device, image) as backend:
        assert backend.kernel_partitions() == {}
    device.close()


# --- whole runs ---------------------------------------------------------------------------------

RUNS = (
    (Layout.CLASSIC, "qcow2", ("--swap", "drop")),
    (Layout.CLASSIC, "raw", ("--swap", "file")),
    _slow(Layout.SWAP_BEHIND, "qcow2", ("--swap", "move")),
    # a GPT is in the quick one below, and growth without swap in the zoo
    _slow(Layout.SWAP_FIRST, "raw", ()),
    _slow(Layout.GPT_CLOUD, "qcow2", ()),
    (Layout.GPT_SWAP_BEHIND, "raw", ("--swap", "move")),
    _slow(Layout.NO_TABLE, "qcow2", ()),
)


@pytest.mark.parametrize(
    ("layout", "kind", "words"), RUNS, ids=lambda value: str(getattr(value, "value", ""))
)
def test_whole_runs_leave_the_same_disk(
    small_disk: DiskMaker, host: Host, layout: Layout, kind: str, words: tuple[str, ...]
) -> None:
    made = small_disk(
        f"made.{kind}", SmallDisk(layout, size=128 * MiB, swap_size=16 * MiB, image_format=kind)
    )
    images = {name: made.with_name(f"{name}.{kind}") for name in NAMES}
    answers = {}
    for name, image in images.items():
        shutil.copyfile(made, image)
        host.backend = name
        answers[name] = host.growdisk("expand", image, "+200M", *words)
        assert (answers[name].code, answers[name].result) == (0, "changed"), answers[name]
        assert answers[name].document["backend"] == name
        assert_sound(image)
    steps = [
        [(s["name"], s["state"]) for s in answer.document["steps"]] for answer in answers.values()
    ]
    assert steps[0] == steps[1] == steps[2]
    host.assert_quiet()
    number = 2 if layout is Layout.SWAP_FIRST else 1
    direct, guestfs, uml = (_disk(images[name], layout, number) for name in NAMES)
    assert direct == guestfs
    assert uml == guestfs


DEEPER = {
    "lvm": ("grow-pv", ()),
    "luks1": ("grow-luks", ("--key-file",)),
    "luks2": ("grow-luks", ("--key-file",)),
}


@pytest.mark.parametrize("name", DEEPER)
def test_what_lies_in_volumes_and_containers_is_refused_by_direct_and_given_to_a_kernel_by_auto(
    tmp_path: Path, host: Host, name: str
) -> None:
    need("direct")
    step, words = DEEPER[name]
    image, key = _layered(tmp_path, name)
    options = [*words, *([key] if words else [])]
    host.backend = "direct"
    refused = host.growdisk("expand", image, "+256M", *options)
    assert (refused.code, refused.error["why"]) == (3, f"{step} needs a kernel"), refused
    run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", image, layered_guests() / f"{name}.raw")
    assert not image.with_name(f"{image.name}.growdisk").exists()
    host.backend = "auto"
    chosen = host.growdisk("plan", image, "+256M", *options)
    kernel = "guestfs" if kernel_obstacle() else "uml"
    assert chosen.document["backend"] == kernel
    assert chosen.document["backend_reason"] == f"{step} needs a kernel"
    assert step in [planned["name"] for planned in chosen.document["steps"]]


def test_a_closed_container_gets_the_same_larger_partition_from_both(
    tmp_path: Path, host: Host
) -> None:
    need("direct")
    need("uml")
    seen = []
    for name in ("direct", "uml"):
        folder = tmp_path / name
        folder.mkdir()
        image, _ = _layered(folder, "luks2")
        host.backend = name
        answer = host.growdisk("expand", image, "+200M", "--partition", "2")
        assert (answer.code, answer.result, answer.document["backend"]) == (0, "changed", name), (
            answer
        )
        assert_sound(image)
        with as_raw(image, "qcow2") as raw:
            assert "No problems found" in run("sgdisk", "-v", raw)
            seen.append(run("sfdisk", "-d", raw).replace(str(raw), "disk"))
            seen.append(run("sha256sum", raw).split()[0])
    assert seen[:2] == seen[2:]
    (size,) = re.findall(r"disk2 : .*size=\s*(\d+)", seen[0])
    assert int(size) * 512 > (160 - 33 + 200 - 3) * MiB


def _layered(folder: Path, name: str) -> tuple[Path, Path]:
    image, key = folder / "guest.qcow2", folder / "key"
    run("qemu-img", "convert", "-O", "qcow2", layered_guests() / f"{name}.raw", image)
    key.write_bytes(KEYS.get(name, b""))
    return image, key


def _disk(image: Path, layout: Layout, number: int) -> tuple[object, ...]:
    """The table, blkid's view of each partition, the bytes before the first, the root's files."""
    with as_raw(image, image_format(image)) as raw:
        if layout is Layout.NO_TABLE:
            blocks, files = _seen(raw, 0)
            return blocks, files
        table = run("sfdisk", "-d", raw).replace(str(raw), "disk")
        starts = {int(n): int(s) * 512 for n, s in re.findall(r"disk(\d+) : start=\s*(\d+)", table)}
        found = [
            run("blkid", "-p", "-O", str(start), "-o", "export", raw)
            for start in _blkable(raw, starts)
        ]
        found = [text.replace(str(raw), "disk") for text in found]
        with raw.open("rb") as file:
            head = file.read(min(starts.values()))
        blocks, files = _seen(raw, starts[number])
        return table, found, head, blocks, files


def _blkable(raw: Path, starts: dict[int, int]) -> Iterator[int]:
    with raw.open("rb") as file:
        for start in starts.values():
            file.seek(start)
            if any(file.read(64 << 10)[1024:]):
                yield start
