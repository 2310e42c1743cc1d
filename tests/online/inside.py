"""What a guest says of itself through its console, which growdisk knows nothing of."""

from __future__ import annotations

from tests.online.machine import LiveGuest

# Each record is on the disk before it is acknowledged.
_WRITER = """\
import os, time
log = os.open("/root/records", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
number = 0
while True:
    number += 1
    os.write(log, b"%d %064x\\n" % (number, number * number))
    os.fsync(log)
    with open("/run/acknowledged", "w") as file:
        file.write(str(number))
    time.sleep(0.1)
"""


def start_writer(guest: LiveGuest) -> None:
    guest.run(f"cat >/run/writer.py <<'END'\n{_WRITER}END\nsystemd-run --quiet --unit=writer python3 /run/writer.py")


def assert_nothing_lost(guest: LiveGuest, at_least: int = 20) -> None:
    """Every acknowledged record is there, in order, and the writer is still at it."""
    acknowledged = int(guest.run("systemctl is-active --quiet writer && cat /run/acknowledged"))
    lines = guest.run("cat /root/records").splitlines()
    assert lines[:acknowledged] == [f"{n} {n * n:064x}" for n in range(1, acknowledged + 1)]
    assert acknowledged >= at_least


def boot_id(guest: LiveGuest) -> str:
    return guest.run("cat /proc/sys/kernel/random/boot_id").strip()


def sizes(guest: LiveGuest) -> dict[str, int]:
    """What the guest's kernel has: sda, sda1, ... in bytes, and / as df sees it."""
    lines = guest.run("lsblk --bytes --noheadings --list --output NAME,SIZE; df -B1 --output=target,size / | tail -1")
    return {line.split()[0]: int(line.split()[1]) for line in lines.splitlines()}


def swaps(guest: LiveGuest) -> list[str]:
    return guest.run("tail -n +2 /proc/swaps | cut -d' ' -f1").split()
