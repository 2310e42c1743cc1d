"""Quick disks: the layouts of real guests with real files and no operating system,
in a second or two, without root.

python -m tests.guests.small sample.qcow2 --size 1G
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from growdisk.units import ByteRange, MiB, parse_size
from tests.guests.content import ODD_XATTRS, Entry, odd_files, write_tar
from tests.guests.ext4 import make_ext4
from tests.guests.layouts import SECTOR, Content, Layout, Table
from tests.guests.swap import make_swap
from tests.guests.tiny_system import system_files
from tests.guests.tools import place_content, run

ROOT_UUID = "5e1f0c1d-0000-4000-8000-00000000a001"
SWAP_UUID = "5e1f0c1d-0000-4000-8000-00000000a005"
SIGNATURES = {"dos": "0x5ca1ab1e", "gpt": "5E1F0C1D-0000-4000-8000-00000000D15C"}
_CORE_SECTORS = 61


@dataclass(frozen=True)
class SmallDisk:
    """What to make; the defaults are Debian's classic layout in a small qcow2."""

    layout: Layout = Layout.CLASSIC
    size: int = 256 * MiB
    swap_size: int = 32 * MiB
    image_format: str = "qcow2"
    qcow2_options: str = ""  # as qemu-img's -o: cluster_size=4k,compat=0.10
    backed: bool = False  # the content lies in PATH.base, PATH is an overlay on it
    filesystem: str = "ext4"  # ext4 (with files), xfs or btrfs (empty)
    filesystem_size: int | None = None  # smaller than its partition
    hibernated: bool = False
    resume_on_command_line: bool = False
    boot_code: bool = True
    extra_files: tuple[Entry, ...] = ()


def make_disk(path: Path, disk: SmallDisk | None = None) -> Path:
    """Make the image `path`, which must not exist."""
    wanted = disk or SmallDisk()
    assert not path.exists(), path
    if wanted.image_format == "raw":
        _fill(path, wanted)
        return path
    raw = path.with_name(path.name + ".raw-being-made")
    try:
        _fill(raw, wanted)
        _convert(raw, path, wanted)
    finally:
        raw.unlink(missing_ok=True)
    return path


def _convert(raw: Path, path: Path, disk: SmallDisk) -> None:
    options = ["-o", disk.qcow2_options] if disk.qcow2_options else []
    target = path.with_name(path.name + ".base") if disk.backed else path
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, raw, target)
    if disk.backed:
        run(
            "qemu-img", "create", "-q", "-f", "qcow2", *options, "-b", target.name, "-F", "qcow2",
            path, cwd=path.parent,
        )  # fmt: skip


def _fill(raw: Path, disk: SmallDisk) -> None:
    with raw.open("wb") as file:
        file.truncate(disk.size)
    table = disk.layout.table(disk.size, disk.swap_size)
    if table is None:
        _make_root(raw, ByteRange(0, disk.size), disk)
        return
    if disk.boot_code:
        _write_boot_code(raw, table.label)
    table.write(raw, SIGNATURES[table.label])
    _fill_partitions(raw, table, disk)


def _fill_partitions(raw: Path, table: Table, disk: SmallDisk) -> None:
    if root := table.part(Content.ROOT):
        _make_root(raw, root.place, disk)
    if swap := table.part(Content.SWAP):
        make_swap(raw, swap.place, uuid=SWAP_UUID, hibernated=disk.hibernated)


def _make_root(raw: Path, place: ByteRange, disk: SmallDisk) -> None:
    place = ByteRange(place.start, place.start + (disk.filesystem_size or place.length))
    if disk.filesystem != "ext4":
        _make_empty(raw, place, disk.filesystem)
        return
    system = system_files(ROOT_UUID, SWAP_UUID, resume_on_command_line=disk.resume_on_command_line)
    with tempfile.TemporaryDirectory(prefix="growdisk-small-") as scratch:
        tar = write_tar(Path(scratch) / "files.tar", [*system, *odd_files(), *disk.extra_files])
        make_ext4(raw, place, [tar], uuid=ROOT_UUID, xattrs=ODD_XATTRS)


def _make_empty(raw: Path, place: ByteRange, kind: str) -> None:
    """A file system of a kind whose mkfs knows no offset: made in a file, whose data then moves."""
    uuid = {"xfs": f"uuid={ROOT_UUID}", "btrfs": ROOT_UUID}[kind]
    with tempfile.TemporaryDirectory(prefix="growdisk-small-") as scratch:
        alone = Path(scratch) / "filesystem"
        with alone.open("wb") as file:
            file.truncate(place.length)
        run(f"mkfs.{kind}", "-q", *(["-m", uuid] if kind == "xfs" else ["-U", uuid]), alone)
        place_content(alone, raw, place.start)


def _write_boot_code(raw: Path, label: str) -> None:
    """Noise where boot code and, on MBR, GRUB's core.img stand:
    whoever loses a byte of it is noticed.
    """
    noise = random.Random(label)
    with raw.open("r+b") as file:
        file.write(b"\xeb\x63\x90" + noise.randbytes(437))
        file.seek(510)
        file.write(b"\x55\xaa")
        if label == "dos":
            file.write(noise.randbytes(_CORE_SECTORS * SECTOR))


def main() -> None:
    """Make one disk from the command line."""
    parser = argparse.ArgumentParser(
        description="make a small disk image with a guest's layout and files"
    )
    parser.add_argument("path", type=Path)
    parser.add_argument("--size", default="1G", help="size of the disk (1G)")
    parser.add_argument("--layout", default="classic", choices=[layout.value for layout in Layout])
    parser.add_argument("--format", default="qcow2", choices=["qcow2", "raw"])
    chosen = parser.parse_args()
    disk = SmallDisk(
        Layout(chosen.layout), parse_size(chosen.size).bytes, image_format=chosen.format
    )
    sys.stdout.write(f"{make_disk(chosen.path, disk)}\n")


if __name__ == "__main__":
    main()
