"""Small disks, a place for playbooks, and growdisk run as a process with a home of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from growdisk.units import MiB
from tests.guests.small import SmallDisk, make_disk

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "playbooks"
PATIENCE = 300.0


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one document; a second one, or a stray line beside it, does not parse."""
        return json.loads(self.out)

    def states(self, host: str | None = None) -> list[str]:
        """How each task ended on a host (the first one if none is named)."""
        hosts = self.json()["hosts"]
        found = (
            hosts[0]
            if host is None
            else next(each for each in hosts if each["host"].endswith(host))
        )
        return [task["state"] for task in found["tasks"]]


@dataclass
class Place:
    """A folder with images and playbooks, where growdisk is started."""

    folder: Path
    disks: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def disk(self, name: str = "guest.qcow2", kind: str = "guest.qcow2") -> Path:
        path = self.folder / name
        shutil.copyfile(self.disks / kind, path)
        return path

    def playbook(self, text: str, name: str = "play.yml") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "XDG_STATE_HOME": str(self.folder / "state"),
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
        }

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "growdisk.cli.main", *map(str, words)], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, cwd=self.folder,
            env=self.environment,
            start_new_session=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def growdisk(self, *words: str | Path) -> Ended:
        process = self.start(*words)
        out, err = process.communicate(timeout=PATIENCE)
        return Ended(process.returncode, out, err)

    def run(self, playbook: Path, *words: str | Path) -> Ended:
        """With --json."""
        return self.growdisk("run", playbook, "--json", *words)

    def left(self) -> list[str]:
        """What is recorded of plays: nothing after one that has ended."""
        return [path.name for path in (self.folder / "state").rglob("*") if path.is_file()]


_DYING = """\
import os, sys
from growdisk.workflow import journal
from growdisk.cli.main import main
left = int(sys.argv[1])
real = journal.append_record

def append(path, record):
    global left
    if path.suffix == ".jsonl" and path.parent.parent.name == "plays":
        if left == 0 and {before}:
            os._exit(9)
        real(path, record)
        if left == 0:
            os._exit(9)
        left -= 1
    else:
        real(path, record)

journal.append_record = append
sys.exit(main(sys.argv[2:]))
"""


def die_at(place: Place, record: int, playbook: Path, *, before: bool) -> int:
    """growdisk run in a process that dies before, or after, the journal's record `record`."""
    done = subprocess.run(
        [sys.executable, "-c", _DYING.format(before=before), str(record), "run", str(playbook),
            "--json"],
        cwd=place.folder, env={**place.environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode


@pytest.fixture(scope="session")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("playbook-disks")
    make_disk(folder / "guest.qcow2", SmallDisk(size=128 * MiB, swap_size=16 * MiB))
    make_disk(
        folder / "guest.raw", SmallDisk(size=128 * MiB, swap_size=16 * MiB, image_format="raw")
    )
    return folder


@pytest.fixture
def place(tmp_path: Path, disks: Path) -> Iterator[Place]:
    here = Place(tmp_path, disks)
    yield here
    for process in here.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)
