"""Shells that a guest may have, and what guest scripts do in them."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.guest_scripts.render import render
from growdisk.guest_scripts.script_plan import GuestPlan, GuestSwap, Phase
from tests.unit.backends.script_plans import part_of, planned

SHELLS = (["dash"], ["busybox", "sh"], ["bash", "--posix"])
SWAP = GuestSwap(
    5, 1 << 26, "3a7dd4b2-6e5b-4d4e-9a53-0d4a58a1c0de", "my swap", "1d5c0de5-05", "", "drop"
)
IDENTITY = RemovedPartition(5, SWAP.uuid, SWAP.label, SWAP.partuuid, None)


def with_swap(swap: GuestSwap) -> GuestPlan:
    return replace(planned("classic-drop"), swaps=(swap,))


def in_shell(shell: list[str], text: str, stdin: str = "", cwd: Path | None = None) -> str:
    done = subprocess.run(
        [*shell, "-c", text],
        input=stdin.encode("utf-8", "surrogateescape"),
        capture_output=True,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("utf-8", "surrogateescape")


def editors(plan: GuestPlan) -> str:
    """The functions of repair.sh that change lines, on a disk named sda."""
    script = render(plan)[Phase.REPAIR.file_name]
    names = part_of(script, "# -- By what names", "# -- Swap that was moved")
    lines = part_of(script, "fstab_line() {", "# -- initrds")
    return f"set -eu\npart_device() {{ echo /dev/sda$1; }}\nfile_named=yes\n{names}\n{lines}\n"
