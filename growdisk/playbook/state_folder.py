"""Where plays are recorded below $XDG_STATE_HOME/growdisk: a folder a run, a claim an image.

    plays/20261125-210000-ab12/run.json     what was asked, so that --resume asks the same
    plays/20261125-210000-ab12/0-0.jsonl    the journal of the first host in the first play
    plays/.20261125-210000-ab12/            one that is just being written or removed
    images/<hash of the path>               which run works on that image; locked while it does

A run that ended in order leaves nothing; one that was cut short leaves its folder, for --resume or
--undo.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from growdisk.durable import alone_in, replace_file, sync_directory
from growdisk.errors import Refused

_DESCRIPTION = "run.json"


def _state_not_writable(folder: Path, reason: str) -> Refused:
    return Refused.named(
        "state-not-writable",
        "cannot record what is done",
        "{folder}: {reason}",
        "make that folder writable, or let XDG_STATE_HOME name another",
        {"folder": folder, "reason": reason},
    )


def state_home() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "growdisk"


class RunFolder:
    """The folder of one run of a playbook: what was run, and a journal for each play and host."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.path = state_home() / "plays" / run
        self._description = self.path / _DESCRIPTION
        self._hidden = self.path.with_name(f".{run}")

    def begin(self, description: Mapping[str, object]) -> None:
        """Record it, whole or not at all."""
        content = json.dumps(description, indent=1, default=str).encode()
        plays = self.path.parent
        try:
            plays.mkdir(parents=True, exist_ok=True)
            with alone_in(plays) as alone:
                # What is half written there while nobody else records is of a killed process.
                for hidden in plays.glob(".*") if alone else ():
                    shutil.rmtree(hidden, ignore_errors=True)
                self._hidden.mkdir()
                # The folder gets its name when it is complete: is_unfinished never sees
                # half of one.
                replace_file(self._hidden / _DESCRIPTION, content)
                self._hidden.rename(self.path)
            sync_directory(plays)
        except OSError as error:
            raise _state_not_writable(self.path, reason=error.strerror or str(error)) from error

    def description(self) -> dict[str, object]:
        found: object = json.loads(self._description.read_bytes())
        assert isinstance(found, dict)
        return found

    @property
    def is_unfinished(self) -> bool:
        return self._description.is_file()

    def journal(self, play: int, host: int) -> Path:
        return self.path / f"{play}-{host}.jsonl"

    def finish(self) -> None:
        """Nothing is left to do: the record goes, at once as far as others see."""
        with suppress(OSError):  # else --resume finds it, and that all has ended
            self.path.rename(self._hidden)
        shutil.rmtree(self._hidden, ignore_errors=True)


def unfinished_run(playbook: Path, verb: str) -> RunFolder:
    """The newest run of the playbook that was cut short. nothing-unfinished."""
    folder, wanted = state_home() / "plays", str(playbook.resolve())
    # A run's name begins with its time: the newest comes first.
    for path in sorted(folder.glob("[!.]*"), reverse=True):
        run = RunFolder(path.name)
        if run.is_unfinished and run.description().get("playbook") == wanted:
            return run
    raise Refused.named(
        "nothing-unfinished",
        "there is no run of {playbook} to {verb}",
        "none that was cut short is recorded in {folder}",
        "growdisk run {playbook} begins one",
        {"playbook": playbook, "verb": verb, "folder": folder},
    )


class Claims:
    """The images of a run: nobody else's play touches them meanwhile.

    Released when the processes that have it end.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._held: dict[Path, int] = {}

    def claim(self, image: Path) -> None:
        """image-claimed or play-unfinished, unless it is ours or free."""
        place = state_home() / "images" / hashlib.sha256(os.fsencode(image)).hexdigest()[:32]
        try:
            fd = self._locked(place, image)
            holder = os.pread(fd, 4096, 0).decode("utf-8", "replace")
        except OSError as error:
            raise _state_not_writable(place.parent, reason=error.strerror or str(error)) from error
        # We have the lock, so whoever is named here is not at work. Its record tells whether it was
        # cut short or has ended.
        other = RunFolder(holder) if holder else None
        # Ours is named if the play is resumed.
        if other is not None and holder != self._run and other.is_unfinished:
            raise Refused.named(
                "play-unfinished",
                "{image} is in the middle of a play",
                "run {run} of {playbook} was cut short",
                "growdisk run {playbook} --resume goes on; growdisk run {playbook} --undo takes "
                "it back",
                {
                    "image": image,
                    "run": holder,
                    "playbook": Path(str(other.description().get("playbook"))),
                },
            )
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, self._run.encode(), 0)
        except OSError as error:
            raise _state_not_writable(place.parent, reason=error.strerror or str(error)) from error

    def _locked(self, place: Path, image: Path) -> int:
        """The claim's file, open and locked. OSError; image-claimed."""
        while True:
            place.parent.mkdir(parents=True, exist_ok=True)
            # Held from now on, also if the lock is refused: release() closes it.
            fd = self._held[place] = os.open(place, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                run = os.pread(fd, 4096, 0).decode("utf-8", "replace")
                raise Refused.named(
                    "image-claimed",
                    "{image} is being worked on",
                    "another run of a playbook has it ({run})",
                    "wait until it has ended",
                    {"image": image, "run": run or "it is just beginning"},
                ) from error
            with suppress(FileNotFoundError):
                # else the one before us has just removed it: a lock on it keeps nobody out
                if os.path.samestat(os.fstat(fd), place.stat()):
                    return fd
            os.close(self._held.pop(place))

    def release(self, *, finished: bool) -> None:
        for place, fd in self._held.items():
            with suppress(OSError):  # one that stays hinders nobody
                # Refused claims are among them: their files name another run, and stay.
                if finished and os.pread(fd, 4096, 0).decode() == self._run:
                    place.unlink(missing_ok=True)
            os.close(fd)
        self._held.clear()
