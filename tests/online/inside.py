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

# Counted in the guest: its console is slow. How many records are as they were written, and how many
# must be.
_JUDGE = """\
acknowledged = open("/run/acknowledged").read()
sound = 0
for number, line in enumerate(open("/root/records"), start=1):
    if line != "%d %064x\\n" % (number, number * number):
        break
    sound = number
print(sound, acknowledged)
"""
_PATIENCE = 600.0  # a busy host may take minutes for what an idle one does in a second


def start_writer(guest: LiveGuest) -> None:
    guest.run(
        f"cat >/run/writer.py <<'END'\n{_WRITER}END\nsystemd-run --quiet --unit=writer python3 "
        "/run/writer.py",
        _PATIENCE,
    )


def assert_nothing_lost(guest: LiveGuest, at_least: int = 20) -> None:
    """Every acknowledged record is there, in order, and the writer is still at it."""
    # END must stand alone on its line
    guest.run(f"cat >/run/judge.py <<'END'\n{_JUDGE}END\ntrue", _PATIENCE)
    sound, acknowledged = guest.run(
        "systemctl is-active --quiet writer && python3 /run/judge.py", _PATIENCE
    ).split()
    assert int(sound) >= int(acknowledged) >= at_least


def boot_id(guest: LiveGuest) -> str:
    return guest.run("cat /proc/sys/kernel/random/boot_id", _PATIENCE).strip()


def sizes(guest: LiveGuest) -> dict[str, int]:
    """What the guest's kernel has: sda, sda1, ... in bytes, and / as df sees it."""
    lines = guest.run(
        "lsblk --bytes --noheadings --list --output NAME,SIZE; df -B1 --output=target,size / | "
        "tail -1",
        _PATIENCE,
    )
    return {line.split()[0]: int(line.split()[1]) for line in lines.splitlines()}


def swaps(guest: LiveGuest) -> list[str]:
    return guest.run("tail -n +2 /proc/swaps | cut -d' ' -f1", _PATIENCE).split()


def filling(path: str) -> str:
    """A script: until df has less than a tenth free. Nothing is written, only taken."""
    return f"set -- $(df -Pk / | tail -n 1); fallocate -l $(( $4 - ($3 + $4) / 12 ))k {path}; sync"


def fill(guest: LiveGuest, path: str) -> None:
    guest.run(filling(path), _PATIENCE)
