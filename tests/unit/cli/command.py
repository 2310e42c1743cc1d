"""growdisk as a user starts it: the console script in a process of its own."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from growdisk.cli.main import main

GROWDISK = Path(sys.executable).with_name("growdisk")
GUESTFS = ("--backend", "guestfs")
NO_APPLIANCE = {"LIBGUESTFS_PATH": "/nonexistent"}  # with --backend guestfs, reread-partitions fails at once


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one document; a second one, or a stray line beside it, does not parse."""
        return json.loads(self.out)


def growdisk(*words: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> Answer:
    done = subprocess.run(
        [GROWDISK, *map(str, words)], capture_output=True, text=True, cwd=cwd, env=environment(env), check=False,
        stdin=subprocess.DEVNULL, errors="backslashreplace",
    )  # fmt: skip
    return Answer(done.returncode, done.stdout, done.stderr)


def in_process(*words: str | Path) -> Answer:
    """The same without a process of its own: a tenth of the time."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return Answer(code, out.getvalue(), err.getvalue())


def environment(changes: dict[str, str] | None = None) -> dict[str, str]:
    """A plain one; what says how to draw is left out. An empty value takes a variable away."""
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "growdisk-pyc")}
    plain = {
        k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "NO_COLOR", "COLUMNS", "PYTHONIO"))
    }
    return {key: value for key, value in (plain | compiled | {"LC_ALL": "C.UTF-8"} | (changes or {})).items() if value}


def fingerprint(image: Path) -> tuple[str, int]:
    """What must not change when a command is refused: the bytes and the time of the last change."""
    return hashlib.sha256(image.read_bytes()).hexdigest(), image.stat().st_mtime_ns


def run_folder(image: Path) -> Path:
    return image.with_name(image.name + ".growdisk")
