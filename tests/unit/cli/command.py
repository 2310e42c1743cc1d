"""growdisk as a user starts it: the console script in a process of its own."""

from __future__ import annotations

import contextlib
import errno
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
_BLOCK = 64 << 10
# with --backend guestfs, reread-partitions fails at once
NO_APPLIANCE = {"LIBGUESTFS_PATH": "/nonexistent"}


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one document; a second one, or a stray line beside it, does not parse."""
        return json.loads(self.out)


def growdisk(
    *words: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> Answer:
    done = subprocess.run(
        [GROWDISK, *map(str, words)], capture_output=True, text=True, cwd=cwd, env=environment(env),
        check=False,
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
    compiled = {
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "growdisk-pyc"),
    }
    plain = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("LC_", "LANG", "NO_COLOR", "COLUMNS", "PYTHONIO"))
    }
    return {
        key: value
        for key, value in (plain | compiled | {"LC_ALL": "C.UTF-8"} | (changes or {})).items()
        if value
    }


def fingerprint(image: Path) -> tuple[str, int, int]:
    """What must not change when a command is refused: the bytes and the time of the last change."""
    state = image.stat()
    return _hash_of_data(image), state.st_size, state.st_mtime_ns


def _hash_of_data(image: Path) -> str:
    """Of every block that is not zeros, and of its place.

    Holes are skipped: a raw image is mostly holes.
    """
    digest = hashlib.sha256()
    with image.open("rb", buffering=0) as file:
        place = 0
        while (data := _next_data(file.fileno(), place)) is not None:
            place = data - data % _BLOCK
            block = os.pread(file.fileno(), _BLOCK, place)
            if block.strip(b"\0"):
                digest.update(b"%d:" % place + block)
            place += _BLOCK
    return digest.hexdigest()


def _next_data(descriptor: int, offset: int) -> int | None:
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as no_more:
        assert no_more.errno == errno.ENXIO
        return None


def run_folder(image: Path) -> Path:
    return image.with_name(image.name + ".growdisk")
