"""A running guest's disk as the guest reads it: a BlockDevice by dd and base64 in a GuestShell.

So the same readers and the same planner serve running guests. Nothing is ever written this way.
"""

from __future__ import annotations

import base64
import binascii
import shlex
from collections.abc import Sequence

from growdisk.block.device import check_range
from growdisk.block.window import ReadOnlyDevice
from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass
from growdisk.live.guest_shell import GuestLost, GuestShell
from growdisk.units import format_size

_PIECE = 64 << 10
_SECONDS = 60.0
_LIST = """\
for entry in /sys/block/*; do
    name=${entry##*/}
    case $name in loop*|ram*|sr*|fd*|zram*|dm-*|md*|nbd*) continue ;; esac
    # A path to an NVMe disk, which is listed beside the disk itself.
    [ "$(cat "$entry/hidden" 2>/dev/null)" != 1 ] || continue
    serial=$(cat "$entry/serial" 2>/dev/null ||
        udevadm info --query=property --name="$name" 2>/dev/null |
        sed -n 's/^ID_SERIAL_SHORT=//p') || serial=
    echo "$(cat "$entry/size") $name $serial"
done
"""

_LOOK = """\
cd /sys/class/block/{name} || exit 1
cat size
for entry in */partition; do
    [ -e "$entry" ] || continue
    part=${{entry%/partition}}
    echo "$(cat "$entry") $(cat "$part/start") $(cat "$part/size") $part"
done
"""
_TOKEN_SIZE = 1024  # what a kernel gives an extended partition


@dataclass(frozen=True)
class SeenDisk:
    """A disk as the guest's kernel has it."""

    device: str
    size: int
    serial: str


@dataclass(frozen=True)
class SeenPartition:
    """A partition as the guest's kernel goes by it; bytes."""

    number: int
    device: str
    start: int
    size: int


class GuestBlockDevice(ReadOnlyDevice):
    """Implements BlockDevice, reading only.

    What was read once is remembered: `guest_disk_at` makes one that sees changes. What lies in a
    partition is read from the partition's own device: its cache is the one that a mounted file
    system writes to, and the whole disk's may show what was there before.
    """

    def __init__(
        self, shell: GuestShell, device: str, size: int, partitions: Sequence[SeenPartition]
    ) -> None:
        self._shell = shell
        self.device = device
        self.size = size
        self.partitions = tuple(partitions)
        # An extended partition is two sectors at most to the kernel.
        inner = [part for part in partitions if part.size > _TOKEN_SIZE]
        self._sources = sorted(
            ((p.start, p.start + p.size, p.device) for p in inner), key=lambda source: source[0]
        )
        self._pieces: dict[tuple[str, int], bytes] = {}

    def read(self, offset: int, length: int) -> bytes:
        check_range(self.size, offset, length)
        data = bytearray()
        while length > 0:
            start, end, device = self._source(offset)
            base = start if device != self.device else 0
            stretch = min(length, end - offset)
            data += self._from(device, offset - base, stretch, end - base)
            offset, length = offset + stretch, length - stretch
        return bytes(data)

    def _source(self, offset: int) -> tuple[int, int, str]:
        """The stretch [start, end), with `offset` in it, that one of the guest's devices serves."""
        # Partitions in order, and the gaps between them, which only the disk's own device serves.
        start = 0
        for source in self._sources:
            if source[0] <= offset < source[1]:
                return source
            if offset < source[0]:
                return start, source[0], self.device
            start = source[1]
        return start, self.size, self.device

    def _from(self, device: str, offset: int, length: int, end: int) -> bytes:
        first, last = offset // _PIECE, (offset + length - 1) // _PIECE
        missing = [n for n in range(first, last + 1) if (device, n) not in self._pieces]
        if missing:
            # One call, though it may fetch some again: in an emulated guest a start takes long.
            self._fetch(device, missing[0], missing[-1] + 1, end)
        data = b"".join(self._pieces[device, number] for number in range(first, last + 1))
        return data[offset - first * _PIECE :][:length]

    def _fetch(self, device: str, first: int, after: int, end: int) -> None:
        """Read the pieces [first, after) of `device`."""
        words = (
            f"dd if={shlex.quote(device)} bs={_PIECE} skip={first} count={after - first} "
            "2>/dev/null | base64"
        )
        answer = self._shell.run(words, _SECONDS)
        try:
            data = base64.b64decode(answer.stdout)
        except binascii.Error as error:
            raise GuestLost(self._shell.name, reason=f"it cannot read {device}: {error}") from error
        # The last piece may reach beyond what is wanted, or end with the device. Anything else is a
        # failure of dd, whose own status the pipe hides.
        if not min(after * _PIECE, end) - first * _PIECE <= len(data) <= (after - first) * _PIECE:
            raise GuestLost(self._shell.name, f"it cannot read {device}: {answer.last_words}")
        for number in range(first, after):
            start = (number - first) * _PIECE
            self._pieces[device, number] = data[start : start + _PIECE]


def guest_disk_at(shell: GuestShell, device: str) -> GuestBlockDevice:
    """The disk as the guest's kernel has it now. GuestLost if it has none of that name."""
    answer = shell.run(_LOOK.format(name=shlex.quote(kernel_name(device))), _SECONDS)
    rows = answer.rows
    if answer.status != 0 or not rows or len(rows[0]) != 1 or not are_numbers(rows[0]):
        raise GuestLost(shell.name, reason=f"{device}: {answer.last_words}")
    parts = [
        SeenPartition(int(row[0]), path, 512 * int(row[1]), 512 * int(row[2]))
        for row in rows[1:]
        # The guest's words: only what is a plain name becomes part of a later command.
        if len(row) == 4 and are_numbers(row[:3]) and (path := _path(row[3]))
    ]
    return GuestBlockDevice(shell, device, 512 * int(rows[0][0]), parts)


def are_numbers(words: Sequence[str]) -> bool:
    return all(word.isascii() and word.isdecimal() for word in words)


def seen_disks(shell: GuestShell) -> tuple[SeenDisk, ...]:
    """The guest's disks, by its own account."""
    lines = shell.run(_LIST, _SECONDS).stdout.decode(errors="replace").splitlines()
    return tuple(disk for line in lines if (disk := _seen(line)))


def find_in_guest(
    shell: GuestShell, name: str, size: int, serial: str, wanted: str = ""
) -> SeenDisk:
    """The guest's disk that QEMU calls `name`.

    It is found by `wanted`, by serial number, or as the only one of that size.
    """
    found = seen_disks(shell)
    if wanted:
        chosen = [disk for disk in found if disk.device == wanted]
    else:
        of_size = [disk for disk in found if disk.size == size]
        # virtio-blk shows a guest the first 20 bytes of a serial number (VIRTIO_BLK_ID_BYTES).
        # Without a serial number, or with one that the guest does not show, the size has to do.
        chosen = [disk for disk in of_size if serial and disk.serial == serial[:20]] or of_size
    if len(chosen) == 1:
        return chosen[0]
    listed = ", ".join(f"{disk.device} ({format_size(disk.size)})" for disk in found) or "none"
    count = "several disks" if chosen else "no disk"
    raise Refused.named(
        "disk-not-in-guest",
        "cannot tell which disk of the guest is {disk}",
        "{reason}",
        "name it: --guest-disk /dev/sda (lsblk in the guest lists its disks)",
        {"disk": name, "reason": f"the guest has {count} of {format_size(size)}: it sees {listed}"},
    )


def _seen(line: str) -> SeenDisk | None:
    size, _, rest = line.partition(" ")
    name, _, serial = rest.partition(" ")
    path = _path(name)
    if not (path and size.isdecimal() and size.isascii()):
        return None
    return SeenDisk(path, int(size) * 512, serial.strip())


def kernel_name(device: str) -> str:
    """As sysfs has it, where an exclamation mark stands for a slash: cciss!c0d0."""
    return device.removeprefix("/dev/").replace("/", "!")


def _path(kernel_name: str) -> str:
    """The device of a name in sysfs; "" if no disk and no partition has such a name."""
    return f"/dev/{kernel_name.replace('!', '/')}" if kernel_name.replace("!", "").isalnum() else ""
