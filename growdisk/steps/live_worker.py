"""The worker of a running guest: the machine in QEMU, and a shell in the guest.

The shell is opened again after everything that may have broken it: a restart, or memory put back to
an earlier instant.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from growdisk.block.device import BlockDevice
from growdisk.durable import replace_file
from growdisk.errors import GrowdiskError, NeedsUser, OperationFailed, Refused
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import Content
from growdisk.filesystems.volume_group import VolumeGroup
from growdisk.guest_scripts.answers import Answer, SavedSectors, ScriptOutcome, clean, parse_answer
from growdisk.guest_scripts.script_plan import GuestPlan, Phase
from growdisk.host.command import COMMAND_LOG
from growdisk.host.json_codec import encoded_lines
from growdisk.live.guest_block_device import GuestBlockDevice, guest_disk_at
from growdisk.live.guest_shell import GuestLost
from growdisk.live.guest_volumes import volumes_of
from growdisk.live.live_disk import Arrival, LiveDisk
from growdisk.live.qemu_machine import Machine
from growdisk.partitions.sectors import read_table
from growdisk.partitions.table import FIRST_DISK, PartitionTable
from growdisk.steps.device_path import DevicePath, LvLayer
from growdisk.steps.failures import verify_failed
from growdisk.steps.live_place import GuestAccess, GuestDevices, guest_did_not_return
from growdisk.steps.moving import Move
from growdisk.steps.worker import Decisions, PartitionExtents, SwapSpace, WorkFacts
from growdisk.storage.device import device_size, resize_device
from growdisk.workflow.run_directory import RunDirectory

_FAILURES = (ScriptOutcome.REFUSED, ScriptOutcome.FAILED, ScriptOutcome.STUCK)
_PHASE_SECONDS = 1800.0  # update-initramfs under emulation takes minutes
_QUICK_SECONDS = 60.0
_PATIENCE = 300  # seconds for what was begun through a line that broke
_RESTART_SECONDS = 600.0
_WHILE_OFF = "grow the disk while the guest is off"
_ARRIVAL_SECONDS = 15.0
# Bytes of a block group of ext with blocks of 4 KiB: the kernel may leave out a last group.
_LAST_GROUP = 128 << 20
SAVED_TABLE = "saved-table.json"
_BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
# Later, and with nothing open: ssh and the agent end only when nobody holds their streams.
_RESTART = "(sleep 2; systemctl reboot || reboot) </dev/null >/dev/null 2>&1 &"


@dataclass(frozen=True)
class SavedTable:
    """The disk's sectors of 512 bytes as they were: `hex` of each piece belongs at its `sector`."""

    run: str
    sectors: tuple[SavedSectors, ...]


@dataclass(frozen=True)
class LiveWorker:
    """Implements Worker (worker.py).

    `key` is the disk's name in QEMU, `device_name` the guest's own; `path` the image, for messages.

    `parts` says of a growing step which of the guest plan's growths it belongs to, and up to which
    of its layers it goes (0: all); `last` is the plan's last step. `keys` are the passphrases that
    were given. They go into the guest with the scripts that need them, on stdin. `on_line` gets
    each line that the guest says while it works.
    """

    machine: Machine
    key: str
    inside: GuestAccess
    device_name: str
    guest: GuestPlan
    path: Path
    may_restart: bool
    parts: Mapping[str, tuple[int, int]]
    last: str
    keys: tuple[bytes, ...]
    on_line: Callable[[str], None]

    disk_name: ClassVar[str] = FIRST_DISK

    @property
    def disk(self) -> LiveDisk:
        return self.machine.disk(self.key)

    def seen(self) -> GuestBlockDevice:
        """The disk as the guest sees it now."""
        return guest_disk_at(self.inside.shell, self.device_name)

    def _devices(self) -> GuestDevices:
        """With what the guest has opened and activated by now."""
        return GuestDevices(self.seen(), volumes_of(self.inside.shell))

    @property
    def size(self) -> int:
        return self.seen().size

    def table(self, sector_size: int) -> PartitionTable | None:
        return read_table(self.seen(), self.path, sector_size)

    def kernel_partitions(self) -> PartitionExtents:
        return {part.number: (part.start, part.size) for part in self.seen().partitions}

    def device(self, place: DevicePath) -> BlockDevice:
        return self._devices().device(place)

    def kernel_size(self, place: DevicePath) -> int | None:
        return self.device(place).size

    def content(self, place: DevicePath) -> Content | None:
        return self._devices().content(place)

    def group(self, place: DevicePath) -> VolumeGroup | None:
        return self._devices().group(place)

    def accepts(self, kind: str, size: int, planned: int) -> bool:
        """It may go without its last group; of btrfs there is none."""
        # In use a file system may stop short by less than a group.
        return size >= planned - (0 if kind == "btrfs" else _LAST_GROUP)

    @property
    def in_guest(self) -> InRunningGuest:
        return InRunningGuest(self)

    def resize_disk(
        self, old_size: int, new_size: int, *, preallocation: str, restart: bool
    ) -> str:
        self.machine.resize(self.key, new_size)
        # Perhaps the guest sees the size without a restart: then there is none.
        if not restart or self._arrives(new_size, seconds=1):
            return ""
        self.restart()
        return ", the guest has restarted"

    def grow_device(self, new_size: int) -> None:
        if device_size(self.path) < new_size:  # somebody may have given it more meanwhile
            resize_device(self.path, new_size)

    def confirm_size(self, old_size: int, new_size: int, *, zeros: bool) -> None:
        disk = self.disk
        if disk.size != new_size:
            raise verify_failed("resize-image", f"{disk.size} bytes", f"{new_size} bytes")
        if not self._arrives(new_size, _ARRIVAL_SECONDS):
            restarts = disk.bus.arrival is Arrival.RESTART
            raise OperationFailed.named(
                "guest-does-not-see",
                "the guest does not see that {device} has grown",
                "QEMU has {expected} bytes, the guest's kernel {found}",
                "{hint}",
                {
                    "device": self.device_name,
                    "expected": new_size,
                    "found": self.size,
                    "hint": "run the same command with --allow-reboot" if restarts else _WHILE_OFF,
                },
            )

    def _arrives(self, size: int, seconds: float) -> bool:
        """Whether the guest's kernel has the size, or gets it within `seconds`."""
        deadline = time.monotonic() + seconds
        while self.size != size:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True

    def write_table(
        self, before: PartitionTable, after: PartitionTable, moves: Sequence[Move]
    ) -> WorkFacts:
        # In this order: the old table is saved here before the first sector of it changes.
        self._keep_table(self.run(Phase.PREPARE))
        self.run(Phase.REWRITE)
        return {}

    def reread(self, table: PartitionTable) -> str:
        answer = self.run_to_the_end(Phase.REREAD)
        return answer.what or f"the kernel sees {len(table.partitions)} partitions"

    def grow_luks(self, step: str, place: DevicePath) -> WorkFacts:
        self._grow(step)
        return {}

    def grow_pv(self, step: str, place: DevicePath) -> None:
        self._grow(step)

    def grow_lv(self, step: str, place: DevicePath, volume: LvLayer, extents: int) -> None:
        self._grow(step)

    def grow_filesystem(
        self, step: str, place: DevicePath, kind: str, *, old_size: int, new_size: int
    ) -> str:
        self._grow(step)
        return ""

    def _grow(self, step: str) -> None:
        growth, layer = self.parts[step]
        self.run(Phase.GROW, growth=growth, up_to=layer)

    def conclude(self, step: str) -> None:
        """It also takes away what a restart was to go on with."""
        if step == self.last:
            for growth in range(1 + len(self.guest.others)):
                self.run(Phase.VERIFY, growth=growth)

    def ask(self, words: str) -> str:
        """A short look inside. GuestLost if it fails."""
        answer = self.inside.shell.run(words, _QUICK_SECONDS)
        if answer.status != 0:
            raise GuestLost(self.inside.shell.name, f"{words.split()[0]}: {answer.last_words}")
        return answer.stdout.decode(errors="replace")

    def _keep_table(self, prepared: Answer) -> None:
        """Save the old table, as prepare did in the guest, next to the image too."""
        # For a guest that does not start any more: nobody could read the copy inside it.
        if prepared.facts.saved:
            folder = RunDirectory.of(self.path).path  # a device's lies elsewhere
            replace_file(
                folder / SAVED_TABLE,
                encoded_lines(SavedTable(self.guest.run, prepared.facts.saved)),
            )

    def check(self) -> str:
        """Raise guest-refused for what prepare would refuse, before anything is touched.

        What is to be done in the guest before its next start, "" if nothing.
        """
        growths = range(1 + len(self.guest.others))
        settings = ("GROWDISK_CHECK=yes",)
        answers = [self.run(Phase.PREPARE, growth=n, settings=settings) for n in growths]
        return answers[0].why if answers[0].result is ScriptOutcome.DONE else ""

    def run(
        self, phase: Phase, *, growth: int = 0, up_to: int = 0, settings: tuple[str, ...] = ()
    ) -> Answer:
        """The answer of one phase of the guest scripts, for one file system.

        `up_to`: only the layers up to that one grow.
        """
        from growdisk.guest_scripts.render import render

        # growth 0 is the plan's own file system, the others are guest.others.
        scripts = render(self.guest.growth(growth))
        # Settings are shell variables before the first line: none is put into the script itself.
        text = (
            "; ".join((*self._settings(phase, up_to), *settings)) + f"\n{scripts[phase.file_name]}"
        )
        done = self.inside.shell.run(text, _PHASE_SECONDS, self._show_line)
        answer = parse_answer(phase, self.guest.run, done.stdout)
        if answer.result in _FAILURES:
            raise _failure(phase, answer)
        return answer

    def _show_line(self, line: str) -> None:
        words = clean(line)
        COMMAND_LOG.debug("# the guest says: %s", words)
        self.on_line(words)

    def _settings(self, phase: Phase, up_to: int) -> list[str]:
        """Variables of the script's shell."""
        # Nothing here needs a quoting filter: names and numbers are ours, and base64 has no quotes.
        words = [f"export GROWDISK_DISK={self.device_name}", f"GROWDISK_PATIENCE={_PATIENCE}"]
        if up_to:
            words.append(f"GROWDISK_UP_TO={up_to}")
        if phase in (Phase.PREPARE, Phase.GROW) and any(
            layer.kind == "luks" for layer in self.guest.all_layers
        ):
            # A file with a passphrase may end with the line break of an editor: both are tried.
            keys = [key for one in self.keys for key in dict.fromkeys((one, one.rstrip(b"\r\n")))]
            words.append(f"GROWDISK_KEYS='{' '.join(base64.b64encode(k).decode() for k in keys)}'")
        return words

    def run_to_the_end(self, phase: Phase) -> Answer:
        """As `run`; restart the guest if its kernel needs that and it is allowed, and run again."""
        answer = self.run(phase)
        if answer.result is ScriptOutcome.REBOOT:
            if not self.may_restart:
                raise OperationFailed.named(
                    "guest-must-restart",
                    "the guest's kernel keeps the old partition table until the guest restarts",
                    "{reason}",
                    "run the same command with --allow-reboot, or grow the disk while the guest "
                    "is off",
                    {"reason": answer.why},
                )
            self.restart()
            answer = self.run(phase)
        if answer.result is ScriptOutcome.REBOOT:
            raise _failure(phase, answer)
        return answer

    def restart(self) -> None:
        """An orderly restart of the guest, until it lets us in again."""
        # It may still be the old system's shell, on its way down: the boot id shows that.
        before = self.ask(_BOOT_ID)
        self.ask(_RESTART)
        deadline = time.monotonic() + _RESTART_SECONDS
        while True:
            try:
                self.inside.wait(_RESTART_SECONDS)
                if self.ask(_BOOT_ID) != before:
                    return
            except GuestLost:
                # The connection breaks when the old system goes down: that is what is waited for.
                pass
            if time.monotonic() > deadline:
                reason = "it is still in the same boot"
                raise guest_did_not_return("its shell", _RESTART_SECONDS, reason)
            time.sleep(1)


@dataclass(frozen=True)
class InRunningGuest:
    """Implements GuestWorker (worker.py).

    One phase of the scripts makes swap again and repairs the guest's files: the first of the steps
    does all of it, and the next one finds nothing left to do.
    """

    worker: LiveWorker

    def has_swap(self, swaps: Sequence[SwapSpace]) -> bool:
        return False

    def make_swap(self, swaps: Sequence[SwapSpace]) -> str:
        return self._repaired()

    def confirm_swap(self, swaps: Sequence[SwapSpace]) -> None: ...

    def swap_file_uuid(self, system: str) -> str | None:
        return ""

    def make_swap_file(self, system: str, size: int, uuid: str, page_size: int) -> str:
        return self._repaired()

    def confirm_swap_file(self, system: str) -> None: ...

    def repair(self, system: str, decisions: Decisions, others: Sequence[str]) -> str:
        return self._repaired("done already")

    def confirm_repair(self, system: str, decisions: Decisions, others: Sequence[str]) -> None: ...

    def _repaired(self, already: str = "") -> str:
        answer = self.worker.run(Phase.REPAIR)
        done = already if already and answer.result is ScriptOutcome.ALREADY else answer.what
        # Of a good answer, `why` is what still names what is gone.
        return f"{done}; {answer.why}" if answer.why else done


def _failure(phase: Phase, answer: Answer) -> GrowdiskError:
    """What an answer that is not a good one says, as an error."""
    name, said, why, cure = phase.value, answer.what, answer.why, answer.do
    if answer.result is ScriptOutcome.REFUSED:  # a script in the guest looked, and changed nothing
        return Refused.because(
            "guest-refused",
            "the guest says no to {phase}: {said}",
            why,
            cure,
            phase=name,
            said=said,
        )
    if answer.result is ScriptOutcome.STUCK:
        return NeedsUser.because(
            "phase-stuck",
            "{phase} got stuck inside the guest: {said}",
            why,
            cure,
            phase=name,
            said=said,
        )
    return OperationFailed.because(
        "phase-failed", "{phase} failed inside the guest: {said}", why, cure, phase=name, said=said
    )
