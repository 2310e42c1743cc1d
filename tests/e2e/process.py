"""growdisk as a real process, in its own temporary directory, which shows what it leaves.

A run is followed through its journal alone, as another process would: `wait_for` returns when a
record is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest

from growdisk.backends.available import why_no_direct, why_no_uml
from growdisk.workflow.run_places import record_folder

_ROOT = Path(__file__).parents[2]
_SBIN = ":/usr/local/sbin:/usr/sbin:/sbin"
PATIENCE = 600.0  # a very busy machine may take minutes for what an idle one does in seconds

Document = dict[str, object]
_Host = TypeVar("_Host", bound="Host")


@dataclass(frozen=True)
class Answer:
    """What a command answered: its exit code, its one JSON document, and what it told people."""

    code: int
    document: Document
    said: str

    @property
    def result(self) -> object:
        return self.document.get("result")

    @property
    def error(self) -> dict[str, object]:
        error = self.document.get("error")
        assert isinstance(error, dict), self
        return error


class Command:
    """A growdisk that is running, in a session of its own as if started from a terminal."""

    def __init__(self, host: Host, words: tuple[str | Path, ...]) -> None:
        self._said = host.scratch / f"stderr-{len(host.started)}"
        self._file = self._said.open("w+")
        self.process = subprocess.Popen(
            [*host.prefix, sys.executable, "-m", "growdisk.cli.main", "--json", *words],
            stdout=subprocess.PIPE,
            stderr=self._file, text=True, env=host.environment, start_new_session=True,
            cwd=host.scratch,
        )  # fmt: skip

    def ended(self, seconds: float = PATIENCE) -> Answer:
        out, _ = self.process.communicate(timeout=seconds)
        self._file.seek(0)
        said = self._file.read()
        self._file.close()
        return Answer(self.process.returncode, json.loads(out or "{}"), said)

    def kill(self) -> None:
        """SIGKILL, to this process alone."""
        self.process.kill()
        self.process.communicate()
        self._file.close()

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """To the process, or to its whole process group as a terminal does."""
        (os.killpg if group else os.kill)(self.process.pid, number)


class Host:
    """Where growdisk runs. `scratch` is its TMPDIR; a short path, as sockets need it."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.started: list[Command] = []
        self.prefix: tuple[str, ...] = ()
        self.backend = "auto"  # what `expand` and `plan` are told to work with
        self.environment = {
            **os.environ, "PATH": os.environ.get("PATH", "") + _SBIN, "PYTHONPATH": str(_ROOT),
            "TMPDIR": str(scratch), "XDG_RUNTIME_DIR": str(scratch),
            "LIBGUESTFS_CACHEDIR": "/var/tmp",
        }  # fmt: skip

    def start(self, *words: str | Path) -> Command:
        need(self.backend)
        asked = {"expand", "plan"} & set(words) and "--backend" not in words
        chosen = ("--backend", self.backend) if asked else ()
        self.started.append(Command(self, (*words, *chosen)))
        return self.started[-1]

    def growdisk(self, *words: str | Path) -> Answer:
        return self.start(*words).ended()

    def left_mounts(self) -> list[str]:
        return [
            line
            for line in Path("/proc/self/mounts").read_text().splitlines()
            if f" {self.scratch}/" in line
        ]

    def left_files(self) -> list[str]:
        return sorted(
            path.name for path in self.scratch.iterdir() if not path.name.startswith("stderr-")
        )

    def left_processes(self) -> list[str]:
        """Command lines of processes that work on something of ours; growdisk must have ended."""
        return [line for line in _command_lines() if f"{self.scratch}/" in line]

    def assert_quiet(self, seconds: float = 10) -> None:
        """Everything that was started ends within a few seconds, and nothing stays mounted."""
        await_true(lambda: not self.left_processes(), seconds, "no process is left")
        await_true(lambda: not self.left_mounts(), seconds, "nothing is mounted")


@contextmanager
def hosted(kind: type[_Host]) -> Iterator[_Host]:
    """Such a host in a folder of its own; what it started ends with it."""
    with tempfile.TemporaryDirectory(prefix="gd-", dir="/tmp") as scratch:
        host = kind(Path(scratch))
        yield host
        for command in host.started:
            if command.process.poll() is None:
                command.kill()


def need(backend: str) -> None:
    """Skips the test where the machine forbids what a backend lives on, as some containers do."""
    if backend in _TRIED and (reason := _obstacle(backend)):
        pytest.skip(f"the {backend} backend does not work here: {reason}")


_TRIED = {"direct": why_no_direct, "uml": why_no_uml}


@cache
def _obstacle(backend: str) -> str:
    return str(_TRIED[backend]() or "")


def _command_lines() -> Iterator[str]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):
                yield (
                    (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )


def await_true(condition: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.004)


def journal(image: Path) -> list[Document]:
    """The whole records of the run of `image`, also when it is finished."""
    beside = image.with_name(image.name + ".growdisk")
    return _records((beside if beside.exists() else record_folder(image)) / "journal.jsonl")


def _records(path: Path) -> list[Document]:
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line.partition(b" ")[2]) for line in lines]


def wait_for(
    command: Command, image: Path, event: str, step: str | None = None, *, known: int = 0
) -> None:
    """Wait for `event` (of `step`) and more than `known` records in the journal.

    Fails if the command ends first.
    """

    def there() -> bool:
        assert command.process.poll() is None, f"ended before {event} {step}: {command.ended()}"
        # not of the run before
        records = _records(image.with_name(image.name + ".growdisk") / "journal.jsonl")
        return len(records) > known and (event, step) in [
            (record["event"], record["step"]) for record in records
        ]

    await_true(there, PATIENCE, f"{event} {step}")
