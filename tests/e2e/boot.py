"""Boots a guest under software emulation and reads the report that it prints when it is up.

The image itself is never written to: QEMU gets an overlay that is thrown away, unless `keep_writes`
is asked for. TCG on purpose: the nested KVM of build machines aborts or hangs. And with a steady
clock: a guest second is a number of instructions, or a second of idling. So a boot takes the same
time (measured: within 1 %) whether the host is busy or not, while every wait for a device that does
not come counts in full.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from tests.guests.tools import environment, run

MARKER = b"GROWDISK-BOOT-REPORT"
_REPORT = re.compile(MARKER + rb" (\{.*\})\r*\n")
# Where a boot ends that will not reach a login.
_DEAD_ENDS = (
    b"(initramfs)",
    b"grub rescue>",
    b"grub>",
    b"Kernel panic",
    b"You are in emergency mode",
    b"No bootable device",
)
# Said by the initramfs on the console alone, before there is a journal.
_WAITED = (b"Gave up waiting for", b"Timed out waiting for device", b"Begin: Waiting for")

# Without systemd, what fails is said on the console alone.
_SYSVINIT, _FAILED = b"INIT: version", re.compile(rb"(?m)^.*(?:failed[.!]|\[FAIL\]).*$")

# All that QEMU emulates, but for the promise that string instructions are quick: it does them byte
# by byte. Without it a kernel clears and copies pages by words, and scripts that start many
# programs take a fifth less of the host's processor.
EMULATED_CPU = "max,erms=off,fsrm=off"

# Where how a kernel starts is not what is tested: no pages are cleared and nobody is kept apart. Of
# a start of eight seconds it saves one.
QUICK_KERNEL = "rcupdate.rcu_expedited=1 init_on_alloc=0 mitigations=off nokaslr audit=0"

# Two nanoseconds an instruction. Virtual machine clocks normally follow the host's.
_STEADY_CLOCK = ("-accel", "tcg,thread=single", "-icount", "shift=1,sleep=on")
_FAST_CLOCK = ("-accel", "tcg,thread=multi")


class BootFailed(AssertionError):
    """The guest did not come up; the end of its console is in the message."""


@dataclass(frozen=True)
class BootReport:
    """What the guest said of itself once it was up.

    Sizes in bytes, times in seconds of its own clock.
    """

    login_seconds: float  # kernel start to login prompt
    initrd_seconds: float  # kernel and initramfs, before systemd
    userspace_seconds: float  # systemd until everything is started
    wall_seconds: float  # start of QEMU to the report, by the host's clock
    disks: dict[str, int]  # sizes by name: sda, sda1, ...
    contents: dict[str, str]  # file system kinds by name
    root_size: int
    root_used: int
    swap: tuple[str, ...]
    failed_units: tuple[str, ...]
    waits: tuple[str, ...]
    files: str  # a digest of /usr and /srv
    command_line: str


@dataclass(frozen=True)
class Doors:
    """Ways into a running guest."""

    ssh_port: int
    agent_socket: Path
    qmp_socket: Path


class RunningGuest:
    """A QEMU that we started, with its serial console on a socket."""

    def __init__(
        self, process: subprocess.Popen[bytes], console: socket.socket, doors: Doors
    ) -> None:
        self._process, self._console, self.doors = process, console, doors
        self._started = time.monotonic()
        self.console_text = b""

    def wait_for_report(self, timeout: float = 900) -> BootReport:
        """Until the guest reports itself up.

        BootFailed at a dead end, when QEMU ends, or after `timeout` seconds.
        """
        match = self._wait_for(_REPORT, timeout)
        said = self.console_text[: match.start()]
        waits = [line for line in said.splitlines() if line.startswith(_WAITED)]
        failed = _FAILED.findall(said.partition(_SYSVINIT)[2])
        return _report(json.loads(match[1]), time.monotonic() - self._started, waits, failed)

    def answer(self, question: bytes, words: bytes, timeout: float = 300) -> None:
        """Type `words` when the console asks `question`."""
        self._wait_for(re.compile(question), timeout)
        self._console.sendall(words + b"\n")

    def run(self, command: str, timeout: float = 120) -> str:
        """Run a shell command as root on the console; the output of both streams, or BootFailed."""
        mark = secrets.token_hex(8)
        # Split in the command line, so that the terminal's echo of it is not taken for the answer.
        typed = f"{mark[:8]}''{mark[8:]}"
        self._console.sendall(f"echo {typed}; {{ {command} ; }} 2>&1; echo {typed} $?\n".encode())
        answer = re.compile(
            rb"%b\r*\n(.*?)%b (\d+)\r*\n" % (mark.encode(), mark.encode()), re.DOTALL
        )
        match = self._wait_for(answer, timeout)
        output = match[1].decode(errors="replace").replace("\r\n", "\n")
        if match[2] != b"0":
            raise BootFailed(f"{command}: exit {match[2].decode()}\n{output}")
        return output

    def power_off(self, timeout: float = 120) -> None:
        """An orderly shutdown, so that the file system on the disk is clean."""
        self._console.sendall(b"systemctl poweroff\n")
        self._process.wait(timeout)

    def _wait_for(self, pattern: re.Pattern[bytes], timeout: float) -> re.Match[bytes]:
        deadline = time.monotonic() + timeout
        while not (match := pattern.search(self.console_text)):
            self._read_more(deadline)
        return match

    def _read_more(self, deadline: float) -> None:
        self._console.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            data = self._console.recv(65536)
        except TimeoutError:
            raise BootFailed(f"no answer in time; the console's end:\n{self._tail()}") from None
        self.console_text += data
        if not data or any(word in self.console_text for word in _DEAD_ENDS):
            raise BootFailed(f"the guest did not come up; the console's end:\n{self._tail()}")

    def _tail(self) -> str:
        return self.console_text[-3000:].decode(errors="replace")


def boot(image: Path, image_format: str = "qcow2", *, timeout: float = 900) -> BootReport:
    """Boot, read the report, pull the plug. The image is not changed."""
    with running(image, image_format, steady_clock=True) as guest:
        return guest.wait_for_report(timeout)


@contextmanager
def running(
    image: Path,
    image_format: str = "qcow2",
    *,
    keep_writes: bool = False,
    steady_clock: bool = False,
    uefi: bool = False,
) -> Iterator[RunningGuest]:
    """A started guest; at the end QEMU is killed if it still runs.

    `keep_writes` lets the guest write to the image.
    """
    with tempfile.TemporaryDirectory(prefix="growdisk-boot-", dir="/var/tmp") as scratch:
        folder = Path(scratch)
        if not keep_writes:
            image, image_format = _overlay(image, image_format, folder / "overlay.qcow2"), "qcow2"
        firmware = _uefi(folder) if uefi else []
        with _Qemu(image, image_format, folder, firmware, steady_clock=steady_clock) as guest:
            yield guest


def _overlay(base: Path, base_format: str, overlay: Path) -> Path:
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base.resolve(), "-F", base_format, overlay)
    return overlay


def _uefi(folder: Path) -> list[str]:
    """OVMF with its own variables, not kept: it takes the EFI partition's fallback path."""
    code, variables = (Path(f"/usr/share/OVMF/OVMF_{name}_4M.fd") for name in ("CODE", "VARS"))
    if not code.exists():
        raise BootFailed("OVMF is not installed: make setup-test")
    own = folder / "variables"
    shutil.copyfile(variables, own)
    return [
        "-drive",
        f"if=pflash,format=raw,unit=0,readonly=on,file={code}",
        "-drive",
        f"if=pflash,format=raw,unit=1,file={own}",
    ]


class _Qemu:
    """The process and its sockets, as a context."""

    def __init__(
        self,
        image: Path,
        image_format: str,
        folder: Path,
        firmware: list[str],
        *,
        steady_clock: bool,
    ) -> None:
        self._folder = folder
        self._doors = Doors(free_port(), folder / "agent", folder / "qmp")
        clock = _STEADY_CLOCK if steady_clock else _FAST_CLOCK
        self._command = [
            *qemu_command(image, image_format, self._doors, folder / "console"),
            *clock,
            *firmware,
        ]

    def __enter__(self) -> RunningGuest:
        self._log = (self._folder / "qemu.log").open("wb")
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=environment(),
        )
        try:
            self._console = connected(
                self._folder / "console", self._process, self._folder / "qemu.log"
            )
        except BaseException:
            self._end_process()
            raise
        return RunningGuest(self._process, self._console, self._doors)

    def __exit__(self, *_: object) -> None:
        self._console.close()
        self._end_process()

    def _end_process(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


def qemu_command(image: Path, image_format: str, doors: Doors, console: Path) -> list[str]:
    """QEMU with the disk as sda (virtio-scsi).

    The default VGA stays: without one SeaBIOS hangs under TCG.
    """
    qemu = shutil.which("qemu-system-x86_64", path=environment()["PATH"])
    if qemu is None:
        raise BootFailed("qemu-system-x86_64 is not installed: make setup")
    # setpriv: should the test process be killed, QEMU must not live on.
    return [
        "setpriv", "--pdeathsig", "KILL", qemu, "-cpu", EMULATED_CPU, "-m", "768", "-smp", "1",
        "-display", "none", "-chardev", f"socket,id=console,path={console},server=on,wait=on",
        "-serial", "chardev:console", "-qmp", f"unix:{doors.qmp_socket},server=on,wait=off",
        "-monitor", "none", "-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=disk",
        "-drive", f"if=none,id=disk,file={image},format={image_format},cache=unsafe,discard=unmap",
        "-nic", f"user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{doors.ssh_port}-:22",
        "-device", "virtio-serial-pci",
        "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
        "-chardev", f"socket,id=agent,path={doors.agent_socket},server=on,wait=off",
        "-device", "virtio-rng-pci", "-no-reboot",
    ]  # fmt: skip


def connected(path: Path, process: subprocess.Popen[bytes], log: Path) -> socket.socket:
    """QEMU waits for this connection before it starts the machine, so that no output is lost."""
    console = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            console.connect(str(path))
            return console
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.1)
    console.close()
    raise BootFailed(f"QEMU did not start:\n{log.read_text(errors='replace')}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Said(TypedDict):
    """The guest's JSON line, as inside/boot-report.py writes it."""

    login_us: int
    userspace_us: int
    finish_us: int
    lsblk: dict[str, list[_Block]]
    root: dict[str, int]
    swap: str
    failed: list[str]
    waits: list[str]
    files: str
    cmdline: str


class _Block(TypedDict):
    name: str
    size: int
    fstype: str | None
    children: NotRequired[list[_Block]]


def _report(
    said: _Said, wall_seconds: float, console_waits: list[bytes], console_failed: list[bytes]
) -> BootReport:
    blocks = list(_flat(said["lsblk"]["blockdevices"]))
    return BootReport(
        login_seconds=said["login_us"] / 1e6,
        initrd_seconds=said["userspace_us"] / 1e6,
        userspace_seconds=(said["finish_us"] - said["userspace_us"]) / 1e6,
        wall_seconds=wall_seconds,
        disks={block["name"]: block["size"] for block in blocks},
        contents={block["name"]: block["fstype"] or "" for block in blocks},
        root_size=said["root"]["size"],
        root_used=said["root"]["used"],
        swap=tuple(said["swap"].splitlines()),
        failed_units=(*(line.decode(errors="replace") for line in console_failed), *said["failed"]),
        waits=(*(line.decode(errors="replace") for line in console_waits), *said["waits"]),
        files=said["files"],
        command_line=said["cmdline"],
    )


def _flat(blocks: list[_Block]) -> Iterator[_Block]:
    for block in blocks:
        yield block
        yield from _flat(block.get("children", []))


def main() -> None:
    """`python -m tests.e2e.boot IMAGE [FORMAT]`: boot it, print the report."""
    image, *rest = sys.argv[1:]
    report = boot(Path(image), *rest[:1])
    sys.stdout.write("".join(f"{name}: {value}\n" for name, value in vars(report).items()))


if __name__ == "__main__":
    main()
