"""What a step of a running guest works with: the machine as QEMU has it, and a shell inside the guest.

The shell is opened anew after everything that may have broken it: a restart, or memory put back to an earlier instant.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.durable import replace_file
from growdisk.fast_dataclass import dataclass, field
from growdisk.filesystems.content import Content
from growdisk.filesystems.volume_group import VolumeGroup
from growdisk.guest_scripts.answers import Answer, Outcome, SavedSectors, clean, parse_answer
from growdisk.guest_scripts.script_plan import GuestPlan, Phase
from growdisk.host.command import COMMAND_LOG
from growdisk.host.json_codec import encoded_lines
from growdisk.live.guest_block_device import GuestDisk, look_at
from growdisk.live.guest_shell import GuestLost, GuestShell, GuestUnreachable
from growdisk.live.guest_volumes import GuestVolumes, volumes_of
from growdisk.live.qemu_machine import LiveDisk, Machine
from growdisk.steps import live_place
from growdisk.steps.device_path import DevicePath
from growdisk.steps.live_failures import GuestDidNotReturn, GuestMustRestart, GuestRefused, PhaseFailed, PhaseStuck
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.stopping import StopRequest

_PHASE_SECONDS = 1800.0  # update-initramfs under emulation takes minutes
_QUICK_SECONDS = 60.0
_PATIENCE = 300  # seconds for what was begun through a line that broke
_RESTART_SECONDS = 600.0
SAVED_TABLE = "saved-table.json"
_BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
_RESTART = "(sleep 2; systemctl reboot || reboot) </dev/null >/dev/null 2>&1 &"


def _to_nobody(line: str) -> None:
    """Nobody wants to know."""


class Inside:
    """The way into the guest. `open` makes a new one; GuestUnreachable where that fails."""

    def __init__(self, open_shell: Callable[[], GuestShell], stop: StopRequest) -> None:
        self._open, self._stop = open_shell, stop
        self._shell: GuestShell | None = None

    @property
    def shell(self) -> GuestShell:
        if self._shell is None:
            self._shell = self._open()
        return self._shell

    def check_stop(self) -> None:
        """Interrupted, if somebody asked for the end of it."""
        self._stop.check()

    def forget(self) -> None:
        """The next use opens a new one."""
        if self._shell is not None:
            self._shell.close()
        self._shell = None

    def wait(self, seconds: float) -> GuestShell:
        """Until the guest lets us in again."""
        deadline = time.monotonic() + seconds
        self.forget()
        while True:
            self._stop.check()
            try:
                return self.shell
            except GuestUnreachable as error:
                if time.monotonic() > deadline:
                    raise GuestDidNotReturn(error.way, seconds=seconds, reason=error.reason) from error
                time.sleep(1)


@dataclass(frozen=True)
class SavedTable:
    """The disk's sectors of 512 bytes as they were: `hex` of each piece belongs at its `sector`."""

    run: str
    sectors: tuple[SavedSectors, ...]


@dataclass(frozen=True)
class LiveContext:
    """`key` is the disk's name in QEMU, `device` the guest's own; `path` the image, for messages.

    `keys` are the passphrases that were given. They go into the guest with the scripts that need them, on stdin. `told`
    gets what the guest says while it works, a line at a time.
    """

    machine: Machine
    key: str
    inside: Inside
    device: str
    guest: GuestPlan
    path: Path
    may_restart: bool
    keys: tuple[bytes, ...] = field(default_factory=tuple)
    told: Callable[[str], None] = _to_nobody

    @property
    def disk(self) -> LiveDisk:
        return self.machine.disk(self.key)

    def seen(self) -> GuestDisk:
        """The disk as the guest sees it now."""
        return look_at(self.inside.shell, self.device)

    def volumes(self) -> GuestVolumes:
        """What the guest has opened and activated by now."""
        return volumes_of(self.inside.shell)

    def opened(self, place: DevicePath) -> BlockDevice:
        """DeviceNotReadable where the guest does not have it open."""
        return live_place.opened(self.seen(), self.volumes(), place)

    def content(self, place: DevicePath) -> Content | None:
        return live_place.content_at(self.seen(), self.volumes(), place)

    def group(self, place: DevicePath) -> VolumeGroup | None:
        return live_place.group_at(self.seen(), self.volumes(), place)

    def ask(self, words: str) -> str:
        """A short look inside. GuestLost where it fails."""
        answer = self.inside.shell.run(words, _QUICK_SECONDS)
        if answer.status != 0:
            raise GuestLost(self.inside.shell.name, reason=f"{words.split()[0]}: {answer.last_words}")
        return answer.stdout.decode(errors="replace")

    def keep_table(self, prepared: Answer) -> None:
        """What prepare saved in the guest, beside the image as well: for the day when the guest does not start."""
        if prepared.facts.saved:
            folder = RunDirectory.beside(self.path).path  # a device's lies elsewhere
            replace_file(folder / SAVED_TABLE, encoded_lines(SavedTable(self.guest.run, prepared.facts.saved)))

    def check(self) -> None:
        """Whether the guest can do it all: what prepare would refuse, before anything is touched. GuestRefused."""
        for growth in range(1 + len(self.guest.others)):
            self.run(Phase.PREPARE, growth=growth, settings=("GROWDISK_CHECK=yes",))

    def run(self, phase: Phase, *, growth: int = 0, up_to: int = 0, settings: tuple[str, ...] = ()) -> Answer:
        """One phase of the guest-side scripts, for one of the file systems; of grow, up to that layer.

        Raises what stands for its answer where it is not done.
        """
        from growdisk.guest_scripts.render import render

        scripts = render(self.guest.growth(growth))
        text = "; ".join((*self._settings(phase, up_to), *settings)) + f"\n{scripts[phase.file_name]}"
        done = self.inside.shell.run(text, _PHASE_SECONDS, self._tell)
        answer = parse_answer(phase, self.guest.run, done.stdout)
        match answer.result:
            case Outcome.REFUSED:
                raise GuestRefused(phase.value, said=answer.what, reason=answer.why, hint=answer.do)
            case Outcome.FAILED:
                raise PhaseFailed(phase.value, said=answer.what, reason=answer.why, hint=answer.do)
            case Outcome.STUCK:
                raise PhaseStuck(phase.value, said=answer.what, reason=answer.why, hint=answer.do)
        return answer

    def _tell(self, line: str) -> None:
        words = clean(line)
        COMMAND_LOG.debug("# the guest says: %s", words)
        self.told(words)

    def _settings(self, phase: Phase, up_to: int) -> list[str]:
        """Variables of the script's shell; the names and numbers are ours, and base64 needs no quotes."""
        words = [f"GROWDISK_DISK={self.device}", "export GROWDISK_DISK", f"GROWDISK_PATIENCE={_PATIENCE}"]
        if up_to:
            words.append(f"GROWDISK_UP_TO={up_to}")
        if phase in (Phase.PREPARE, Phase.GROW) and any(layer.kind == "luks" for layer in self.guest.all_layers):
            keys = [key for given in self.keys for key in dict.fromkeys((given, given.rstrip(b"\r\n")))]
            words.append(f"GROWDISK_KEYS='{' '.join(base64.b64encode(key).decode() for key in keys)}'")
        return words

    def run_to_the_end(self, phase: Phase) -> Answer:
        """As `run`; where the guest's kernel cannot go on before a restart, it is restarted, if that is allowed."""
        answer = self.run(phase)
        if answer.result is Outcome.REBOOT:
            if not self.may_restart:
                raise GuestMustRestart(reason=answer.why)
            self.restart()
            answer = self.run(phase)
        if answer.result is Outcome.REBOOT:
            raise PhaseFailed(phase.value, said=answer.what, reason=answer.why, hint=answer.do)
        return answer

    def restart(self) -> None:
        """An orderly restart of the guest, until it lets us in again."""
        before = self.ask(_BOOT_ID)
        self.ask(_RESTART)
        deadline = time.monotonic() + _RESTART_SECONDS
        while True:
            try:
                self.inside.wait(_RESTART_SECONDS)
                if self.ask(_BOOT_ID) != before:
                    return
            except GuestLost:
                pass
            if time.monotonic() > deadline:
                raise GuestDidNotReturn("its shell", seconds=_RESTART_SECONDS, reason="it is still in the same boot")
            time.sleep(1)
