"""Partition tables as installers and cloud images make them, as data; sfdisk writes them.

In Debian's classic layout the extended partition starts *two sectors before* the swap in it, not on
a MiB:

    |MBR|core.img|  sda1 ext4 root, boot flag  | 1 MiB |sda2: EBR| sda5 swap | 1 MiB |
    0   1        2048                                  S-2       S
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from growdisk.units import ByteRange, MiB
from tests.guests.tools import run

SECTOR = 512
_MIB_SECTORS = MiB // SECTOR
_LINUX, _SWAP, _EXTENDED = "83", "82", "5"
_GPT_LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
_GPT_ROOT = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
_GPT_SWAP = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"
_GPT_BIOS = "21686148-6449-6E6F-744E-656564454649"
_GPT_ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"


class Content(Enum):
    ROOT = "root"
    SWAP = "swap"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Part:
    """One partition, in sectors."""

    number: int
    start: int
    sectors: int
    type: str
    content: Content = Content.NOTHING
    bootable: bool = False

    @property
    def place(self) -> ByteRange:
        return ByteRange(self.start * SECTOR, (self.start + self.sectors) * SECTOR)

    def line(self) -> str:
        boot = ", bootable" if self.bootable else ""
        return f"{self.number} : start={self.start}, size={self.sectors}, type={self.type}{boot}"


@dataclass(frozen=True)
class Table:
    """A partition table: `label` is dos or gpt; parts in the table's order."""

    label: str
    parts: tuple[Part, ...]

    def part(self, content: Content) -> Part | None:
        return next((part for part in self.parts if part.content is content), None)

    def write(self, disk: Path, label_id: str) -> None:
        """Onto a raw image. The boot sector must hold boot code already if it shall hold any."""
        head = [f"label: {self.label}", f"label-id: {label_id}", "unit: sectors"]
        script = "\n".join([*head, "", *(part.line() for part in self.parts), ""])
        run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", disk, stdin=script)


def classic(sectors: int, swap: int) -> Table:
    """sda1 root, sda2 extended with sda5 swap behind it: Debian's installer."""
    start = (sectors - _MIB_SECTORS - swap) // _MIB_SECTORS * _MIB_SECTORS
    root = Part(1, 2048, start - _MIB_SECTORS - 2048, _LINUX, Content.ROOT, bootable=True)
    return Table(
        "dos",
        (root, Part(2, start - 2, swap + 2, _EXTENDED), Part(5, start, swap, _SWAP, Content.SWAP)),
    )


def swap_behind(sectors: int, swap: int) -> Table:
    """sda1 root, sda2 a primary swap behind it."""
    start = (sectors - swap) // _MIB_SECTORS * _MIB_SECTORS
    root = Part(1, 2048, start - 2048, _LINUX, Content.ROOT, bootable=True)
    return Table("dos", (root, Part(2, start, swap, _SWAP, Content.SWAP)))


def swap_first(sectors: int, swap: int) -> Table:
    """sda1 swap, sda2 root last: nothing in the way."""
    start = 2048 + swap
    root = Part(2, start, sectors - start, _LINUX, Content.ROOT, bootable=True)
    return Table("dos", (Part(1, 2048, swap, _SWAP, Content.SWAP), root))


def plain(sectors: int, swap: int) -> Table:
    """One root partition, no swap."""
    return Table("dos", (Part(1, 2048, sectors - 2048, _LINUX, Content.ROOT, bootable=True),))


def gpt_cloud(sectors: int, swap: int) -> Table:
    """A cloud image: 14 BIOS boot and 15 ESP in front, 1 root last."""
    start = 2048 + 4 * _MIB_SECTORS + 8 * _MIB_SECTORS
    return Table(
        "gpt",
        (
            Part(1, start, _gpt_end(sectors) - start, _GPT_ROOT, Content.ROOT),
            Part(14, 2048, 4 * _MIB_SECTORS, _GPT_BIOS),
            Part(15, 2048 + 4 * _MIB_SECTORS, 8 * _MIB_SECTORS, _GPT_ESP),
        ),
    )


def gpt_swap_behind(sectors: int, swap: int) -> Table:
    """Root and, behind it, swap."""
    start = _gpt_end(sectors) - swap
    root = Part(1, 2048, start - 2048, _GPT_LINUX, Content.ROOT)
    return Table("gpt", (root, Part(2, start, swap, _GPT_SWAP, Content.SWAP)))


def _gpt_end(sectors: int) -> int:
    """Partitions end on a MiB below the backup table."""
    return (sectors - 34) // _MIB_SECTORS * _MIB_SECTORS


class Layout(Enum):
    """The layouts by name; NO_TABLE is a file system on the whole disk."""

    CLASSIC = "classic"
    SWAP_BEHIND = "swap-behind"
    SWAP_FIRST = "swap-first"
    PLAIN = "plain"
    GPT_CLOUD = "gpt-cloud"
    GPT_SWAP_BEHIND = "gpt-swap-behind"
    NO_TABLE = "no-table"

    def table(self, size: int, swap_size: int) -> Table | None:
        maker = _MAKERS.get(self.value)
        return maker(size // SECTOR, swap_size // SECTOR) if maker else None


_MAKERS: dict[str, Callable[[int, int], Table]] = {
    "classic": classic,
    "swap-behind": swap_behind,
    "swap-first": swap_first,
    "plain": plain,
    "gpt-cloud": gpt_cloud,
    "gpt-swap-behind": gpt_swap_behind,
}
