"""A running guest's disk as the guest itself reads it: a BlockDevice by dd and base64 through a GuestShell.

So the same readers and the same planner serve running guests. Nothing is ever written this way.
"""

from __future__ import annotations

import base64
import binascii
import shlex
from collections.abc import Iterator
from typing import ClassVar

from growdisk.backends.guest_shell import GuestLost, GuestShell
from growdisk.block.device import Extent, ExtentKind, check_range
from growdisk.errors import Refused
from growdisk.units import format_size
from growdisk.values import dataclass

_PIECE = 64 << 10
_SECONDS = 60.0
_LIST = """\
for entry in /sys/block/*; do
    name=${entry##*/}
    case $name in loop*|ram*|sr*|fd*|zram*|dm-*|md*|nbd*) continue ;; esac
    serial=$(cat "$entry/serial" 2>/dev/null || udevadm info --query=property --name="$name" 2>/dev/null |
        sed -n 's/^ID_SERIAL_SHORT=//p') || serial=
    echo "$(cat "$entry/size") $name $serial"
done
"""


@dataclass(frozen=True)
class SeenDisk:
    """A disk as the guest's kernel has it."""

    device: str
    size: int
    serial: str


@dataclass(eq=False)
class DiskNotInGuest(Refused):
    WHAT: ClassVar[str] = "cannot tell which disk of the guest is {disk}"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "{hint}"
    disk: str
    reason: str
    hint: str = "name it: --guest-disk /dev/sda (lsblk in the guest lists its disks)"


class GuestDisk:
    """Implements BlockDevice, reading only. What was read once is remembered: make a new one to see changes."""

    writable = False

    def __init__(self, shell: GuestShell, device: str, size: int) -> None:
        self._shell, self.device, self.size = shell, device, size
        self._pieces: dict[int, bytes] = {}

    def read(self, offset: int, length: int) -> bytes:
        check_range(self.size, offset, length)
        if length == 0:
            return b""
        first, last = offset // _PIECE, (offset + length - 1) // _PIECE
        data = b"".join(self._piece(number) for number in range(first, last + 1))
        return data[offset - first * _PIECE :][:length]

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        raise OSError("a running guest's disk is not written to from outside")

    def write_zeros(self, offset: int, length: int) -> None:
        raise OSError("a running guest's disk is not written to from outside")

    def discard(self, offset: int, length: int) -> None:
        """Nothing is given up here."""

    def flush(self) -> None:
        """Nothing was written."""

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        yield Extent(offset, offset + length, ExtentKind.DATA)

    def close(self) -> None:
        """The shell belongs to others."""

    def _piece(self, number: int) -> bytes:
        if number not in self._pieces:
            self._pieces[number] = self._fetched(number)
        return self._pieces[number]

    def _fetched(self, number: int) -> bytes:
        words = f"dd if={shlex.quote(self.device)} bs={_PIECE} skip={number} count=1 2>/dev/null | base64"
        answer = self._shell.run(words, _SECONDS)
        try:
            data = base64.b64decode(answer.stdout)
        except binascii.Error as error:
            raise GuestLost(self._shell.name, reason=f"it cannot read {self.device}: {error}") from error
        if len(data) != min(_PIECE, self.size - number * _PIECE):
            raise GuestLost(self._shell.name, reason=f"it cannot read {self.device}: {answer.last_words}")
        return data


def seen_disks(shell: GuestShell) -> tuple[SeenDisk, ...]:
    """The guest's disks, by its own account."""
    lines = shell.run(_LIST, _SECONDS).stdout.decode(errors="replace").splitlines()
    return tuple(disk for line in lines if (disk := _seen(line)))


def find_in_guest(shell: GuestShell, name: str, size: int, serial: str, wanted: str = "") -> SeenDisk:
    """The guest's disk that QEMU calls `name`: by `wanted`, by serial number, or the only one of that size."""
    found = seen_disks(shell)
    if wanted:
        chosen = [disk for disk in found if disk.device == wanted]
    else:
        of_size = [disk for disk in found if disk.size == size]
        chosen = [disk for disk in of_size if serial and disk.serial == serial[:20]] or of_size
    if len(chosen) == 1:
        return chosen[0]
    listed = ", ".join(f"{disk.device} ({format_size(disk.size)})" for disk in found) or "none"
    count = "several disks" if chosen else "no disk"
    raise DiskNotInGuest(name, reason=f"the guest has {count} of {format_size(size)}: it sees {listed}")


def _seen(line: str) -> SeenDisk | None:
    size, _, rest = line.partition(" ")
    name, _, serial = rest.partition(" ")
    plain = name.replace("!", "/")
    if not (size.isdecimal() and size.isascii() and plain.replace("/", "").isalnum()):
        return None
    return SeenDisk(f"/dev/{plain}", int(size) * 512, serial.strip())
