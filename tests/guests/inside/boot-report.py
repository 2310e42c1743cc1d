#!/usr/bin/python3
"""Runs inside the guest at every boot:
one JSON line about it on the first serial port, for the boot harness.

Without systemd it is started by /etc/inittab when the runlevel's scripts have ended, just before
the login.
"""

import hashlib
import json
import os
import stat
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


def by_systemd() -> dict[str, object]:
    manager = wait_until_booted()
    getty = shown("serial-getty@ttyS0.service", "ExecMainStartTimestampMonotonic")
    return {
        "login_us": getty["ExecMainStartTimestampMonotonic"],
        "userspace_us": manager["UserspaceTimestampMonotonic"],
        "finish_us": manager["FinishTimestampMonotonic"],
        "analyze": said("systemd-analyze", "time").strip(),
        "failed": said("systemctl", "--failed", "--no-legend", "--plain").splitlines(),
        "waits": [
            line
            for line in said("journalctl", "-b", "-o", "cat").splitlines()
            if line.startswith(WAITS)
        ],
    }


def by_inittab() -> dict[str, object]:
    now = int(1e6 * uptime())
    return {"login_us": now, "userspace_us": 0, "finish_us": now, "failed": [], "waits": []}


def uptime() -> float:
    return float(Path("/proc/uptime").read_text().split()[0])


def files() -> str:
    """A digest of what nobody may change:
    the metadata of all files in /usr, and the content as well in /srv.
    """
    digest = hashlib.sha256()
    walked = (found for top in ("/srv", "/usr") for found in os.walk(top))
    for folder, _, names in sorted(walked, key=lambda found: found[0]):
        for path in (
            f"{folder}/{name}" for name in sorted(names) if not folder.endswith("__pycache__")
        ):
            info = os.lstat(path)
            digest.update(
                repr(
                    (path, info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_mtime)
                ).encode()
            )
            if path.startswith("/srv") and stat.S_ISREG(info.st_mode):
                digest.update(
                    repr(
                        [(name, os.getxattr(path, name)) for name in sorted(os.listxattr(path))]
                    ).encode()
                )
                digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def report() -> dict[str, object]:
    times = by_systemd() if Path("/run/systemd/system").is_dir() else by_inittab()
    root = os.statvfs("/")
    return times | {
        "uptime": uptime(),
        "lsblk": parsed(
            "lsblk", "--bytes", "--json", "-o", "NAME,SIZE,TYPE,FSTYPE,UUID,PARTUUID,MOUNTPOINT"
        ),
        "root": {
            "size": root.f_blocks * root.f_frsize,
            "used": (root.f_blocks - root.f_bfree) * root.f_frsize,
        },
        "df": said("df", "--block-size=1", "--output=source,size,used,avail,target", "/"),
        "swap": said("swapon", "--show=NAME,TYPE,SIZE", "--bytes", "--noheadings"),
        "files": files(),
        "cmdline": Path("/proc/cmdline").read_text().strip(),
    }


def main() -> None:
    line = f"\n{MARKER} {json.dumps(report())}\n"
    # One write: nobody else's output can get in between.
    with Path("/dev/ttyS0").open("wb", buffering=0) as serial:
        serial.write(line.encode())


main()
