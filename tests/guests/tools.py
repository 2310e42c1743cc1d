"""Starting the host tools that build guests: one function, readable failures."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

# sfdisk, mkswap and debugfs stand in sbin, which an ordinary user's PATH leaves out.
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_PIECE = 4 << 20


class ToolFailed(AssertionError):
    """A tool of the test bed failed; its own words are in the message."""


def run(*argv: str | Path, stdin: str | bytes = b"", cwd: Path | None = None) -> str:
    """Run a tool, give back its standard output. Raises ToolFailed with what it said."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [str(part) for part in argv], input=data, capture_output=True, cwd=cwd, env=environment()
    )
    if done.returncode != 0:
        said = (done.stderr[-4000:] + done.stdout[-1000:]).decode(errors="replace")
        raise ToolFailed(f"{_shown(argv)}: exit {done.returncode}\n{said}")
    return done.stdout.decode(errors="replace")


def place_content(content: Path, disk: Path, at: int) -> None:
    """Write what is in the file `content` to `disk` from byte `at` on:
    its data alone, so that holes stay holes.
    """
    with content.open("rb") as source, disk.open("r+b") as target:
        for start, end in data_ranges(source.fileno()):
            for place in range(start, end, _PIECE):
                os.pwrite(
                    target.fileno(),
                    os.pread(source.fileno(), min(_PIECE, end - place), place),
                    at + place,
                )


def data_ranges(source: int) -> Iterator[tuple[int, int]]:
    """From where to where an open file has data."""
    end = 0
    while True:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError:  # ENXIO: there is no more
            return
        end = os.lseek(source, start, os.SEEK_HOLE)
        yield start, end


def environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8", "PATH": _PATH}


def _shown(argv: Sequence[str | Path]) -> str:
    return " ".join(str(part) for part in argv)[:300]
