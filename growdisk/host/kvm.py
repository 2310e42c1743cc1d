"""Whether KVM really works here: found out by starting a guest, not by looking at /dev/kvm.

In nested virtual machines /dev/kvm often opens and creates a VM, and then QEMU aborts ("failed to
set MSR"), hangs in its firmware or early in a kernel, or runs thirty times slower than emulation.
libguestfs does not fall back once KVM has opened. So the trial is what an appliance needs, with
`-cpu max`, within a few seconds: through SeaBIOS into a boot sector, then a Linux kernel of this
machine up to where it looks for its root file system, and finds none.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path

from growdisk.durable import scratch_folder
from growdisk.errors import ToolTimedOut
from growdisk.fast_dataclass import dataclass
from growdisk.host.command import CompletedCommand, last_lines, require, run
from growdisk.host.probe_cache import cached_probe, file_facts

_KVM = Path("/dev/kvm")
_QEMU = "qemu-system-x86_64"
# -no-reboot ends QEMU when the kernel's panic wants to restart (panic=-1).
_MACHINE = (
    "-nodefaults -no-user-config -display none -no-reboot -machine pc,graphics=off -accel kvm "
    "-cpu max"
)
# A boot sector takes 0.2 s where KVM works, and under emulation; a kernel half a second, and 2 s.
_TRIAL_SECONDS = 5.0
_EXIT_PORT = 0xF4
_GOOD_STATUS = 0x10 << 1 | 1  # isa-debug-exit makes status (value << 1 | 1) of a written value
_KERNELS = Path("/boot")
_KERNEL_UP = b"Kernel panic - not syncing"
# mov dx, 0xf4; mov al, 0x10; out dx, al; hlt; jmp back to hlt. 55 AA ends each boot sector.
_BOOT_SECTOR = bytes.fromhex("baf400 b010 ee f4 ebfd").ljust(510, b"\0") + b"\x55\xaa"


class KvmState(Enum):
    """Whether KVM can be used, as a trial guest showed."""

    WORKS = "works"
    BROKEN = "broken"
    ABSENT = "absent"
    FORBIDDEN = "no permission"


@dataclass(frozen=True)
class Accelerator:
    """What guests are run with: KVM if it works, else software emulation (TCG)."""

    kvm: KvmState
    reason: str = ""

    @property
    def has_kvm(self) -> bool:
        return self.kvm is KvmState.WORKS


def accelerator(*, fresh: bool = False) -> Accelerator:
    """Find out what works, once per boot, kernel and QEMU: the answer is cached.

    `fresh` tries again. Raises ToolMissing when there is no QEMU.
    """
    if not _KVM.exists():
        return Accelerator(KvmState.ABSENT, "this machine has no /dev/kvm")
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return Accelerator(
            KvmState.FORBIDDEN, "this user may not open /dev/kvm (it belongs to the group kvm)"
        )
    node = _KVM.stat()
    # It depends on the trial itself, the kernels, QEMU's binary, the device node.
    facts = (
        "boot sector, kernel",
        str(_readable_kernel()),
        platform.release(),
        platform.machine(),
        file_facts(Path(require(_QEMU))),
        node.st_ino,
        node.st_rdev,
        node.st_ctime_ns,
    )
    known = cached_probe("kvm", facts, _tried, fresh=fresh)
    with suppress(ValueError, KeyError):  # somebody else has written the record
        return Accelerator(KvmState(known["kvm"]), known["reason"])
    return try_kvm()


def _broken(reason: str) -> Accelerator:
    return Accelerator(KvmState.BROKEN, reason)


def _tried() -> Mapping[str, str]:
    found = try_kvm()
    return {"kvm": found.kvm.value, "reason": found.reason}


def try_kvm() -> Accelerator:
    """Run the trial guests: a boot sector, and a kernel if this user may read one."""
    # The folder also takes the core file of an abort.
    with scratch_folder("growdisk-kvm-") as scratch:
        boot = scratch / "boot.img"
        boot.write_bytes(_BOOT_SECTOR.ljust(64 << 10, b"\0"))
        port = f"isa-debug-exit,iobase={_EXIT_PORT:#x},iosize=4"
        drive = f"file={boot},format=raw,if=ide"
        try:
            guest = _run_guest(scratch, 64, "-device", port, "-drive", drive)
        except ToolTimedOut:
            return _broken(f"a trial guest had not started after {_TRIAL_SECONDS:.0f} s")
        if guest.status != _GOOD_STATUS:
            return _broken(_complaint(guest) or f"a trial guest ended with status {guest.status}")
        kernel = _readable_kernel()
        return _try_kernel(kernel, scratch) if kernel else Accelerator(KvmState.WORKS)


def _readable_kernel() -> Path | None:
    """A kernel such as an appliance is made from."""
    kernels = [kernel for kernel in sorted(_KERNELS.glob("vmlinu*")) if os.access(kernel, os.R_OK)]
    return kernels[-1] if kernels else None


def _try_kernel(kernel: Path, scratch: Path) -> Accelerator:
    console = scratch / "console"
    console.touch()
    try:
        boot = ("-kernel", str(kernel), "-append", "console=ttyS0 panic=-1 quiet")
        guest = _run_guest(scratch, 512, *boot, "-serial", f"file:{console}")
    except ToolTimedOut:
        return _broken(f"{kernel.name} had not started in it after {_TRIAL_SECONDS:.0f} s")
    # The panic is the success: the kernel came as far as to miss its root file system.
    if _KERNEL_UP in console.read_bytes():
        return Accelerator(KvmState.WORKS)
    return _broken(_complaint(guest) or f"{kernel.name} did not start in it")


def _run_guest(scratch: Path, memory: int, *devices: str) -> CompletedCommand:
    """Run a trial guest under KVM with `memory` MiB; ToolTimedOut if it does not end."""
    # A guest that never starts runs for ever, and growdisk may be killed meanwhile.
    bound = ["timeout", "-s", "KILL", str(2 * _TRIAL_SECONDS), require(_QEMU)]
    words = [*bound, *_MACHINE.split(), "-m", str(memory), *devices]
    return run(words, timeout=_TRIAL_SECONDS, accept=None, cwd=scratch, name=_QEMU)


def _complaint(guest: CompletedCommand) -> str:
    words = last_lines(guest.stderr).removeprefix(f"{_QEMU}: ").removeprefix("error: ")
    return words.partition("; ")[0]
