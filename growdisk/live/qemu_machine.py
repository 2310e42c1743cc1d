"""A running machine as its QEMU describes it: disks, their buses, and what can be asked of them.

QEMU would shrink a disk in use without a warning: `resize` never does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from growdisk.errors import OperationFailed
from growdisk.fast_dataclass import dataclass
from growdisk.host.json_codec import NotThatValue, converted_from_qemu, decoded
from growdisk.live import live_disk as answers
from growdisk.live.live_disk import Arrival, Bus, LiveDisk

T = TypeVar("T")


class Monitor(Protocol):
    """What takes QMP commands: QEMU's own socket, or libvirt on its behalf."""

    def execute(self, command: str, **arguments: object) -> object:
        """QEMU's answer.

        Underscores in names of arguments stand for hyphens. OperationFailed if it says no.
        """

    def close(self) -> None: ...


def _unexpected_answer(command: str, reason: str) -> OperationFailed:
    return OperationFailed.named(
        "unexpected-answer",
        "QEMU's answer to {command} is not what was expected",
        "{reason}",
        "is this QEMU 5.2 or newer? Shut the guest down and grow its disk offline otherwise",
        {"command": command, "reason": reason},
    )


@dataclass(eq=False)
class CommandRefused(OperationFailed):
    """QEMU said no to a command; it has then done nothing of it."""

    WHAT = "QEMU refused {command}"
    WHY = "{reason}"
    DO = "see what the machine is doing (query-status, query-jobs) and run growdisk again"
    command: str
    reason: str


def monitor_lost(command: str, reason: str) -> OperationFailed:
    return OperationFailed.named(
        "monitor-lost",
        "QEMU went away while it was to {command}",
        "{reason}",
        "start the guest again, then growdisk resume IMAGE (or rollback) goes on from the journal",
        {"command": command, "reason": reason},
    )


_JSON = "json:"
_FORMATS = ("qcow2", "raw", "file")
OUR_JOBS = "growdisk-"
_NO_MIGRATION = ("none", "completed", "failed", "cancelled")
# cfi.pflash01 is the flash of a UEFI guest: firmware and its variables.
_NO_DISKS = ("floppy", "ide-cd", "scsi-cd", "sd-card", "cfi.pflash01")
# What usb-storage makes below itself: a SCSI disk that no -device has named.
_IN_USB = ".0/legacy[0]"
_BUSES = {
    "virtio-blk-device": Bus("virtio-blk", Arrival.AT_ONCE),
    "ide-hd": Bus("IDE or SATA", Arrival.RESTART),
    "nvme": Bus("NVMe", Arrival.NEVER),
    "nvme-ns": Bus("NVMe", Arrival.NEVER),
    "usb-storage": Bus("USB", Arrival.RESTART),
}


class Machine:
    """A running QEMU.

    `name` is what people call it, `folder` what its relative file names start from.
    """

    def __init__(self, monitor: Monitor, name: str, folder: Path | None = None) -> None:
        self.monitor, self.name, self._folder = monitor, name, folder

    def status(self) -> str:
        """running, paused, ...: QEMU's own words."""
        return self.ask("query-status", answers.StatusInfo).status

    def memory(self) -> int:
        """The guest's memory in bytes."""
        memory = self.ask("query-memory-size-summary", answers.MemorySize)
        return memory.base_memory + memory.plugged_memory

    def fixed_to_host(self) -> str:
        """Why no snapshot with memory is possible, in QEMU's words (a device, a folder), or ""."""
        return next(iter(self.ask("query-migrate", answers.MigrationInfo).blocked_reasons), "")

    def is_migrating(self) -> bool:
        """Whether QEMU is sending the machine to another host, or to a file."""
        return self.ask("query-migrate", answers.MigrationInfo).status not in _NO_MIGRATION

    def disks(self) -> tuple[LiveDisk, ...]:
        """Disks with an image in them; no CDs, floppies and firmware."""
        return tuple(
            self._disk(block, block.inserted, kind)
            for block in self.ask("query-block", tuple[answers.BlockInfo, ...])
            # A disk of -drive if=none that no device has taken has no qdev.
            if (kind := self.property_of(block.qdev, "type") if block.qdev else "") not in _NO_DISKS
            and block.inserted is not None
        )

    def disk(self, key: str) -> LiveDisk:
        """The disk that was found before, as it is now."""
        for disk in self.disks():
            if disk.key == key:
                return disk
        raise _unexpected_answer("query-block", reason=f"the disk {key} is gone")

    def files(self, key: str) -> tuple[str, ...]:
        """The image that is written to, and what it lies on, from the top down."""
        blocks = [
            block
            for block in self.ask("query-block", tuple[answers.BlockInfo, ...])
            if (block.qdev or block.device) == key
        ]
        # query-block nests an image in the one above it.
        image = blocks[0].inserted.image if blocks and blocks[0].inserted else None
        found = []
        while image is not None:
            found.append(self._whole(image.filename))
            image = image.backing_image
        return tuple(found)

    def node_of(self, file: Callable[[str], bool]) -> str:
        """The node of the image whose file name `file` accepts; "" if there is none."""
        # Each image is two nodes: its format, and its file below that.
        images = [node for node in self._nodes() if node.drv != "file"]
        return next((node.node_name for node in images if file(self._whole(node.file))), "")

    def has_open(self, file: Callable[[str], bool]) -> bool:
        """Whether QEMU has a file open, for a disk or anything else, whose name `file` accepts."""
        return any(file(self._whole(node.file)) for node in self._nodes())

    def _nodes(self) -> tuple[answers.BlockNodeInfo, ...]:
        # flat: without the backing files of each, which are nodes by themselves.
        return self.ask("query-named-block-nodes", tuple[answers.BlockNodeInfo, ...], flat=True)

    def place_of(self, file: str) -> Path:
        """Where a file name of QEMU's leads."""
        return (self._folder or Path.cwd()) / file

    def channel_socket(self, channel: str) -> Path | None:
        """The unix socket of the virtio-serial port named `channel`, if there is one."""
        chardevs = {
            chardev.label: chardev.filename
            for chardev in self.ask("query-chardev", tuple[answers.ChardevInfo, ...])
        }
        for path in self._devices():
            if self.property_of(path, "name") == channel:
                # query-chardev says "disconnected:" of a socket that nobody has connected to.
                address = chardevs.get(self.property_of(path, "chardev"), "").removeprefix(
                    "disconnected:"
                )
                if address.startswith("unix:"):
                    return self.place_of(address.removeprefix("unix:").partition(",")[0])
                return None
        return None

    def _devices(self) -> Iterator[str]:
        # Devices with an id are in the first, others in the second.
        for folder in ("/machine/peripheral", "/machine/peripheral-anon"):
            for entry in self.ask("qom-list", tuple[answers.ObjectProperty, ...], path=folder):
                if entry.type == "child<virtserialport>":
                    yield f"{folder}/{entry.name}"

    def resize(self, key: str, size: int) -> None:
        """Make the disk `size` bytes; it never becomes smaller."""
        disk = self.disk(key)
        # block_resize shrinks a disk in use without a word: nothing but this line prevents it.
        if size < disk.size:
            reason = f"the disk has {disk.size} bytes, more than {size}"
            raise _unexpected_answer("query-block", reason)
        if size > disk.size:
            self.monitor.execute("block_resize", node_name=disk.node, size=size)

    def restore_size(self, key: str, size: int) -> None:
        """Make a disk that we have grown smaller: the caller has seen that nothing lies after."""
        self.monitor.execute("block_resize", node_name=self.disk(key).node, size=size)

    def busy(self) -> str:
        """The type of a block job that is not ours ("backup", "commit", ...), or ""."""
        jobs = self.ask("query-block-jobs", tuple[answers.BlockJobInfo, ...])
        return next((job.type for job in jobs if not job.device.startswith(OUR_JOBS)), "")

    def ask(self, command: str, kind: type[T], **arguments: object) -> T:
        """QEMU's answer as a typed value; unexpected-answer if it is none."""
        answer = self.monitor.execute(command, **arguments)
        try:
            return converted_from_qemu(answer, kind)
        except NotThatValue as error:
            raise _unexpected_answer(command, reason=str(error)) from error

    def close(self) -> None:
        self.monitor.close()

    def _disk(
        self, block: answers.BlockInfo, inserted: answers.BlockDeviceInfo, kind: str
    ) -> LiveDisk:
        image, device = inserted.image, _named_by_people(block.qdev)
        specific = (image.format_specific and image.format_specific.data) or answers.FormatData()
        names = (block.device, device.rsplit("/", 1)[-1], inserted.node_name)
        return LiveDisk(
            # Node names change with each snapshot and merge; the device stays.
            key=block.qdev or block.device,
            names=tuple(name for name in names if name),
            node=inserted.node_name,
            file=self._whole(inserted.file),
            format=inserted.drv,
            size=image.virtual_size,
            actual_size=image.actual_size,
            read_only=inserted.ro,
            bus=self._bus(block.qdev, kind),
            serial=self.property_of(device, "serial") if device else "",
            snapshots=tuple(snapshot.name for snapshot in image.snapshots),
            # QEMU's "compat" is the first version of QEMU that could read it.
            version={"0.10": 2, "1.1": 3}.get(specific.compat, 0),
            refcount_bits=specific.refcount_bits,
            corrupt=specific.corrupt,
            backing=image.full_backing_filename or image.backing_filename,
            encrypted=specific.encrypt is not None,
            data_file=specific.data_file,
        )

    def _whole(self, file: str) -> str:
        """A file name as QEMU has it, from the root on; what is not a file name stays as it is."""
        file = _plain(file)
        # With a colon it is an address (nbd:..., json:...), and not relative to anything.
        return str(self._folder / file) if self._folder and file and ":" not in file else file

    def _bus(self, qdev: str, kind: str) -> Bus:
        if kind in ("scsi-hd", "scsi-block"):
            # The controller of a SCSI disk decides: virtio-scsi notifies the guest, others do not.
            controller = self.property_of(qdev, "parent_bus").rpartition("/")[0]
            name = self.property_of(controller, "type")
            if name in _BUSES:
                return _BUSES[name]
            virtio = name.startswith("virtio-scsi")
            return Bus(
                "virtio-scsi" if virtio else name, Arrival.AT_ONCE if virtio else Arrival.RESTART
            )
        return _BUSES.get(kind, Bus(kind or "unknown", Arrival.RESTART))

    def property_of(self, path: str, name: str) -> str:
        """A textual property of one of QEMU's objects; "" if there is none."""
        try:
            value = self.monitor.execute("qom-get", path=path, property=name)
        except OperationFailed:
            return ""
        return value if isinstance(value, str) else ""


def is_same_file(file: str | Path, path: Path) -> bool:
    try:
        return Path(file).samefile(path)
    except (OSError, ValueError):
        return False


def _named_by_people(qdev: str) -> str:
    """The device that -device made."""
    # The disks of virtio-blk and usb-storage are in a device of their own below it.
    if qdev.endswith(_IN_USB):
        return qdev.removesuffix(_IN_USB).rpartition("/")[0]
    return qdev.removesuffix("/virtio-backend")


def _plain(file: str) -> str:
    """The file's name; QEMU writes JSON if the name in the image is another one (../disk, say)."""
    if not file.startswith(_JSON):
        return file
    try:
        written = decoded(file.removeprefix(_JSON), answers.JsonImageName)
    except NotThatValue:
        return file
    inner = written.file or written
    # With an offset, or another driver in between, the image is not simply that file.
    is_whole = written.driver in _FORMATS and inner.driver == "file" and written.offset is None
    return inner.filename if is_whole and inner.filename else file
