"""A micro guest under QEMU: its console, its disk grown while it runs, power cuts."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from growdisk.guest_scripts.answers import SavedSectors, ScriptOutcome, parse_answer
from growdisk.guest_scripts.script_plan import DRIVER, Phase
from growdisk.host.json_codec import decoded
from tests.e2e.boot import EMULATED_CPU, QUICK_KERNEL, Doors, RunningGuest, connected
from tests.guest_scripts.micro import kernel
from tests.guests.content import text, write_tar
from tests.guests.tools import environment

# seconds: on a machine that is busy with other things everything takes ten times as long
_PATIENCE = 600.0
_APPEND = f"console=ttyS0 quiet panic=-1 no_timer_check {QUICK_KERNEL}"
_BUSES = {
    "scsi": ["-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=disk,serial=GROW-1"],
    "virtio": ["-device", "virtio-blk-pci,drive=disk,serial=GROW-1"],
    "ide": ["-device", "ide-hd,drive=disk"],
}

_EXIT_STATUS = {"done": 0, "already": 0, "refused": 3, "failed": 4, "stuck": 5, "reboot": 10}


@dataclass(frozen=True)
class SwapInUse:
    """A line of /proc/swaps; bytes."""

    device: str
    size: int
    used: int
    priority: int


@dataclass(frozen=True)
class AllFacts:
    """All that a phase reports, of which growdisk itself reads `saved` alone.

    `table` is what is on the disk, `kernel_table` what the kernel uses: before, after or other.
    `arranged`: after a reboot the run continues by itself; `boot_id`: new with each boot.
    """

    table: str = "other"
    kernel_table: str = "other"
    tool: str = ""
    mount_point: str = ""
    filesystem_size: int = 0
    swaps: tuple[SwapInUse, ...] = ()
    init: str = ""
    boot_id: str = ""
    arranged: bool = False
    saved: tuple[SavedSectors, ...] = ()


@dataclass(frozen=True)
class WholeAnswer:
    result: ScriptOutcome
    what: str = ""
    why: str = ""
    do: str = ""
    disk: str = ""
    facts: AllFacts = field(default_factory=AllFacts)


class Machine(RunningGuest):
    """A running micro guest. The scripts lie in /tmp/scripts."""

    def __init__(
        self, process: subprocess.Popen[bytes], console: socket.socket, doors: Doors
    ) -> None:
        super().__init__(process, console, doors)
        self.exit_status = 0

    def wait(self) -> None:
        self._wait_for(re.compile(rb"GROWDISK-MICRO-UP\r*\n"), _PATIENCE)
        self.run(
            "mkdir -p /tmp/scripts; for disk in /dev/vda /dev/vdb; do if tar -xf $disk -C "
            "/tmp/scripts 2>/dev/null; then break; fi; done; [ -e /tmp/scripts/inspect.sh ]"
        )

    def grow_disk(self, size: int, node: str = "disk") -> None:
        self.qmp("block_resize", {"node-name": node, "size": size})

    def qmp(self, command: str, arguments: Mapping[str, object]) -> None:
        with closing(socket.socket(socket.AF_UNIX)) as door:
            door.connect(str(self.doors.qmp_socket))
            file = door.makefile("rw")
            file.readline()
            for name, values in (("qmp_capabilities", {}), (command, arguments)):
                file.write(json.dumps({"execute": name, "arguments": values}) + "\n")
                file.flush()
                while "return" not in (answer := json.loads(file.readline())):
                    assert "error" not in answer, answer

    def phase(
        self,
        phase: Phase,
        run: str,
        environment: str = "",
        *,
        shell: str = "sh",
        on_stdin: bool = False,
    ) -> WholeAnswer:
        """Run one phase by its script; its answer, and its exit status in `exit_status`."""
        file = f"/tmp/scripts/{phase.file_name}"
        return self.answer(
            phase, run, f"{environment} {shell} {f'-s <{file}' if on_stdin else file}"
        )

    def drive(
        self, phase: Phase, run: str, options: str = "", environment: str = ""
    ) -> WholeAnswer:
        """Run the driver, which is to end with the answer of `phase`."""
        return self.answer(phase, run, f"{environment} sh /tmp/scripts/{DRIVER} {options}")

    def answer(self, phase: Phase, run: str, command: str) -> WholeAnswer:
        said = self.run(
            f"status=0; {command} 2>/tmp/said || status=$?; echo $status", timeout=_PATIENCE
        )
        output, _, status = said.rstrip().rpartition("\n")
        self.exit_status = int(status)
        answer = parse_answer(phase, run, output.encode())
        assert _EXIT_STATUS[answer.result.value] == self.exit_status, answer
        return decoded(output.rsplit("\n", 1)[-1], WholeAnswer)

    def start(self, command: str) -> None:
        """Run something that will not come to its end."""
        self.run(f"({command}) >/dev/null 2>&1 & echo begun")

    def wait_until(self, condition: str) -> None:
        self.run(
            f"for _ in $(seq 400); do if {condition}; then break; fi; sleep 0.5; done; "
            f"{condition} || "
            "{ tail -n 30 /var/log/growdisk.log; false; }",
            timeout=_PATIENCE,
        )

    def commit(self) -> None:
        """Write everything to the disk, remount it read-only and cut the power, for other tools."""
        self.run("sync; echo u >/proc/sysrq-trigger; sleep 1; sync")
        self.cut_power()

    def cut_power(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def booted(
    disk: Path,
    scripts: Mapping[str, str],
    *,
    bus: str = "scsi",
    root: int = 1,
    data: Path | None = None,
    data_sector: int = 512,
    drivers: Sequence[str] = (),
) -> Iterator[Machine]:
    """The guest on the qcow2 `disk`, which it writes to; up, with the scripts at hand.

    QEMU is killed at the end. `data` is a second disk, on the same bus (scsi); `drivers` are those
    that the root does not need.
    """
    with tempfile.TemporaryDirectory(prefix="growdisk-micro-", dir="/var/tmp") as scratch:
        folder = Path(scratch)
        doors = Doors(0, folder / "agent", folder / "qmp")
        tar = write_tar(
            folder / "scripts.tar", [text(name, script, 0o755) for name, script in scripts.items()]
        )
        command = _command(disk, tar, doors, folder / "console", bus, root, drivers)
        if data is not None:
            command += [
                "-blockdev",
                f"driver=qcow2,file.driver=file,file.filename={data},node-name=data",
            ]
        with (folder / "qemu.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment()
            )
        try:
            with closing(connected(folder / "console", process, folder / "qemu.log")) as console:
                machine = Machine(process, console, doors)
                machine.wait()
                if data is not None:
                    # Not before it is up: a kernel names disks in the order in which they answer.
                    sectors = dict.fromkeys(
                        ("logical_block_size", "physical_block_size"), data_sector
                    )
                    disk_of_data = {"driver": "scsi-hd", "drive": "data", "serial": "DATA-1"}
                    machine.qmp("device_add", {**disk_of_data, **sectors})
                    machine.wait_until("[ -b /dev/sdb ] && sleep 1")
                yield machine
        finally:
            process.kill()
            process.wait()


def _command(
    disk: Path,
    tar: Path,
    doors: Doors,
    console: Path,
    bus: str,
    root: int,
    drivers: Sequence[str],
) -> list[str]:
    qemu = shutil.which("qemu-system-x86_64", path=environment()["PATH"])
    assert qemu, "qemu-system-x86_64 is not installed: make setup"
    image, initramfs = kernel(*drivers)
    name = "vda" if bus == "virtio" else "sda"
    return [
        "setpriv", "--pdeathsig", "KILL", qemu, "-cpu", EMULATED_CPU, "-m", "256", "-smp", "1",
        "-accel", "tcg", "-display", "none", "-no-reboot", "-monitor", "none",
        "-kernel", str(image), "-initrd", str(initramfs),
        "-append", f"{_APPEND} microroot={name}{root}",
        "-chardev", f"socket,id=console,path={console},server=on,wait=on",
        "-serial", "chardev:console", "-qmp", f"unix:{doors.qmp_socket},server=on,wait=off",
        "-blockdev", f"driver=file,filename={disk},node-name=file,cache.no-flush=on",
        "-blockdev", "driver=qcow2,file=file,node-name=disk", *_BUSES[bus],
        "-drive", f"if=none,id=tar,file={tar},format=raw,readonly=on",
        "-device", "virtio-blk-pci,drive=tar",
    ]  # fmt: skip
