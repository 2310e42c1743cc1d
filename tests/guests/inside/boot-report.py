#!/usr/bin/python3
"""Runs inside the guest at every boot: one JSON line about it on the first serial port, for the boot harness."""

import json
import os
import subprocess
import time
from pathlib import Path

MARKER = "GROWDISK-BOOT-REPORT"
WAITS = ("Timed out waiting for device", "Gave up waiting for", "Dependency failed")
TIMES = ("UserspaceTimestampMonotonic", "FinishTimestampMonotonic")


def said(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def parsed(*argv: str) -> object:
    return json.loads(said(*argv) or "null")


def shown(unit: str, *names: str) -> dict[str, int]:
    options = [f"--property={name}" for name in names]
    lines = said("systemctl", "show", *options, *([unit] if unit else [])).splitlines()
    return {name: int(value or 0) for name, _, value in (line.partition("=") for line in lines)}


def wait_until_booted() -> dict[str, int]:
    """The service that runs this belongs to the boot: it starts it and then lets it finish."""
    for _ in range(600):
        manager = shown("", *TIMES)
        if manager["FinishTimestampMonotonic"]:
            return manager
        time.sleep(0.5)
    return manager


def report() -> dict[str, object]:
    manager = wait_until_booted()
    getty = shown("serial-getty@ttyS0.service", "ExecMainStartTimestampMonotonic")
    root = os.statvfs("/")
    return {
        "uptime": float(Path("/proc/uptime").read_text().split()[0]),
        "login_us": getty["ExecMainStartTimestampMonotonic"],
        "userspace_us": manager["UserspaceTimestampMonotonic"],
        "finish_us": manager["FinishTimestampMonotonic"],
        "analyze": said("systemd-analyze", "time").strip(),
        "lsblk": parsed("lsblk", "--bytes", "--json", "-o", "NAME,SIZE,TYPE,FSTYPE,UUID,PARTUUID,MOUNTPOINT"),
        "root": {"size": root.f_blocks * root.f_frsize, "used": (root.f_blocks - root.f_bfree) * root.f_frsize},
        "df": said("df", "--block-size=1", "--output=source,size,used,avail,target", "/"),
        "swap": said("swapon", "--show=NAME,TYPE,SIZE", "--bytes", "--noheadings"),
        "failed": said("systemctl", "--failed", "--no-legend", "--plain").splitlines(),
        "waits": [line for line in said("journalctl", "-b", "-o", "cat").splitlines() if line.startswith(WAITS)],
        "cmdline": Path("/proc/cmdline").read_text().strip(),
    }


def main() -> None:
    line = f"\n{MARKER} {json.dumps(report())}\n"
    # One write: nobody else's output can get in between.
    with Path("/dev/ttyS0").open("wb", buffering=0) as serial:
        serial.write(line.encode())


main()
