"""Many guest scripts started at once take turns, with flock and without."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.unit.backends.script_plans import locking


@pytest.mark.parametrize("shell", [["dash"], ["busybox", "sh"]], ids=lambda shell: shell[0])
@pytest.mark.parametrize("has_flock", [True, False])
def test_many_at_once_take_their_turns_after_one_that_was_killed(
    shell: list[str], has_flock: bool, tmp_path: Path
) -> None:
    """Each makes a folder that must not exist, and removes it: often at the same instant."""
    often = "GROWDISK_PATIENCE=5000\nsleep() { command sleep 0.01; }\n"
    start = f"{often}{locking(tmp_path, has_flock=has_flock)}\n"
    killed = subprocess.run([*shell, "-c", f"{start}kill -9 $$"], check=False)
    assert killed.returncode == -signal.SIGKILL
    turn = f"{start}mkdir {tmp_path}/alone; rmdir {tmp_path}/alone; answer already x"
    many = [
        subprocess.Popen([*shell, "-c", turn], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(24)
    ]
    told = [(each.communicate(), each.returncode) for each in many]
    assert [said for said, status in told if status] == []
