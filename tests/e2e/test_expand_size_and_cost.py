"""What a run costs: hardly more for 2 TiB than for 1 GiB, little memory, little work of our own.

The limits are generous, for a busy machine; benchmarks/ measures properly.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from growdisk.units import GiB, MiB
from tests.conftest import DiskMaker
from tests.e2e.process import Host
from tests.guests.small import SmallDisk

pytestmark = pytest.mark.appliance

# With 10 GiB more it still fits into an MBR. resize2fs alone, unmounted, goes through all of the
# file system.
_LARGE = {"guestfs": (2032 * GiB, 2.5), "uml": (2032 * GiB, 2.5), "direct": (100 * GiB, 6)}


@dataclass(frozen=True)
class Cost:
    """Seconds of wall clock and of processor, peak memory in bytes, of growdisk's process."""

    seconds: float
    processor: float
    memory: int


def cost_of_expanding(host: Host, image: Path) -> Cost:
    started = time.monotonic()
    command = host.start("expand", image, "+10G")
    memory, processor = 0, 0.0
    while command.process.poll() is None:
        with contextlib.suppress(OSError, IndexError):
            memory = _peak_memory(command.process.pid)
            processor = _processor_seconds(command.process.pid)
        time.sleep(0.05)
    answer = command.ended()
    assert (answer.code, answer.result) == (0, "changed"), answer
    return Cost(time.monotonic() - started, processor, memory)


def _peak_memory(pid: int) -> int:
    """VmHWM; wait4() would count the appliance's qemu as well."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.parametrize(
    "backend", [pytest.param("guestfs", marks=pytest.mark.slow), "uml", "direct"]
)
def test_a_large_disk_costs_about_what_one_gibibyte_costs(
    small_disk: DiskMaker, host: Host, backend: str
) -> None:
    host.backend = backend
    little = cost_of_expanding(host, small_disk("little.qcow2", SmallDisk(size=GiB)))
    size, times = _LARGE[backend]
    huge = cost_of_expanding(host, small_disk("huge.qcow2", SmallDisk(size=size)))
    assert huge.seconds < times * little.seconds, (little, huge)
    assert max(little.memory, huge.memory) < 150 * MiB
    assert little.processor < 2.5
