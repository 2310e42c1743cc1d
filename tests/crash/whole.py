"""Whole commands on a small host of their own, which die, or fail, at any change of it.

    host.command("expand", image, "32M", dies_before=17)    None: it died
    host.answer("resume", image)                            an Answer
    host.left_over()                                        what is there and should not be

The host is a folder: disks, temporary files, the state folder, a home. A command is growdisk's own
main() in a forked child, so that it costs what the command costs.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from growdisk.cli.main import main
from growdisk.host import clock
from growdisk.workflow.run_places import STATE_DIR
from tests.crash.dying import OF_FILES, before_change, code_dying, count_changes, in_child
from tests.unit.cli.command import Answer

_EPOCH = 1_700_000_000  # the time in guests: what ends done is the same bytes each time
_PATIENCE = 60.0  # seconds for keepers to end after a death


class Host:
    """`pristine` is what its folder of disks holds at first."""

    def __init__(self, folder: Path, pristine: Path) -> None:
        self.folder, self.pristine = folder, pristine
        self.disks, self.state = folder / "disks", folder / "state"
        self.scratch, self.home = folder / "tmp", folder / "home"
        self.reset()

    def reset(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for place in (self.folder, self.scratch, self.state, self.home):
            place.mkdir()
        subprocess.run(["cp", "-a", "--sparse=always", self.pristine, self.disks], check=True)

    def command(self, *words: str | Path, dies_before: int | None = None) -> Answer | None:
        """None if it died."""
        return self._answered(lambda act: code_dying(act, dies_before), words)

    def answer(self, *words: str | Path, code: int = 0) -> Answer:
        """What it says, if it ends with this code."""
        answer = self.command(*words)
        assert answer is not None
        assert answer.code == code, (words, answer)
        return answer

    def changes(self, *words: str | Path) -> int:
        """How many changes a command makes that ends well; it is done then."""
        found = 0

        def counting(act: Callable[[], int]) -> int:
            nonlocal found
            code, found = count_changes(act)
            return code

        answer = self._answered(counting, words)
        assert answer is not None and answer.code == 0, answer
        return found

    def failing(self, *words: str | Path, change: int, error: int) -> tuple[Answer, bool]:
        """The answer where one change of a file fails, and whether it came so far."""
        told, tell = os.pipe()
        write = os.write  # changes are counted, and this is none

        def fail() -> None:
            write(tell, b"!")
            raise OSError(error, os.strerror(error))

        answer = self._answered(
            lambda act: in_child(act, lambda: before_change(change, fail, OF_FILES)), words
        )
        os.close(tell)
        with os.fdopen(told, "rb") as pipe:
            failed = bool(pipe.read())
        assert answer is not None
        return answer, failed

    def _answered(
        self, run: Callable[[Callable[[], int]], int | None], words: tuple[str | Path, ...]
    ) -> Answer | None:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:

            def act() -> int:
                with _writing_to(out.fileno(), err.fileno()), clock.fixed_at(_EPOCH):
                    return main([str(word) for word in words])

            code = run(self._inhabited(act))
            said = [_all_of(each.fileno()) for each in (out, err)]
        if code is None:
            return None
        assert "Traceback" not in said[1], f"{' '.join(map(str, words))}: {said[1]}"
        return Answer(code, *said)

    def _inhabited(self, act: Callable[[], int]) -> Callable[[], int]:
        """As a process of this host. The caches are the machine's: what it can do is known."""

        def inhabiting() -> int:
            os.environ |= {
                "TMPDIR": str(self.scratch),
                "XDG_CACHE_HOME": str(_cache()),
                "HOME": str(self.home),
                "XDG_STATE_HOME": str(self.home / ".state"),
                STATE_DIR: str(self.state),
            }
            tempfile.tempdir = str(self.scratch)  # Python would try whether it can be written
            os.chdir(self.folder)
            return act()

        return inhabiting

    def left_over(self) -> list[str]:
        """Beside disks and records of finished runs, once the keepers of the dead have ended."""
        end = time.monotonic() + _PATIENCE
        while (busy := [*self._mounts(), *self._processes()]) and time.monotonic() < end:
            time.sleep(0.02)
        return [*busy, *self._strays()]

    def _strays(self) -> Iterator[str]:
        known = {path.name for path in self.pristine.iterdir()}
        yield from (str(path) for path in self.disks.iterdir() if path.name not in known)
        yield from map(str, self.scratch.iterdir())
        for path in self.state.rglob("*"):
            place = path.relative_to(self.state).parts
            is_record = place[0] == "done" and not (len(place) > 1 and place[1].endswith(".new"))
            if not (is_record or place in (("runs",), ("served",), ("watch.lock",))):
                yield str(path)
        plays = self.home / ".state/growdisk"
        for path in self.home.rglob("*"):
            if path not in (plays.parent, plays, plays / "plays", plays / "images"):
                yield str(path)

    def _mounts(self) -> list[str]:
        lines = Path("/proc/self/mounts").read_text().splitlines()
        return [line for line in lines if f"{self.folder}/" in line]

    def _processes(self) -> Iterator[str]:
        """A child of one that died has nothing but its folder until it becomes a program."""
        for place in Path("/proc").glob("[0-9]*"):
            try:
                words = (
                    (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                where = (place / "cwd").readlink()
            except OSError:
                continue
            named = f"{self.scratch}/" in words or f"{self.state}/" in words
            if named or where.is_relative_to(self.folder):
                yield f"{place.name}: {words}"


def some(length: int) -> list[int]:
    """A few of so many changes, odd and even ones; two of them at the end."""
    return [*range(length % 7, length - 8, max(length // 4, 1) | 1), length - 5, length - 2]


class Mortal(Protocol):
    """A command that can die before its n-th change, and what a user does then."""

    def die(self, change: int) -> bool: ...

    def finish(self, change: int) -> str:
        """Judge what is left, go on, judge that; returns in which state it was found."""
        ...


def killed(command: Mortal, changes: Iterable[int]) -> set[str]:
    """The states that it was found in."""
    found = set()
    for change in changes:
        if not command.die(change):
            break  # how a disk is read and copied varies a little
        try:
            found.add(command.finish(change))
        except Exception as error:
            raise AssertionError(f"killed before change {change}: {error}") from error
    return found


@contextmanager
def _writing_to(out: int, err: int) -> Iterator[None]:
    """What is said, by programs too."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(io.FileIO(fd, "w", closefd=False), "utf-8", line_buffering=True)
        for fd in (1, 2)
    )
    yield
    sys.stdout.flush()


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _all_of(fd: int) -> str:
    return os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="backslashreplace")
