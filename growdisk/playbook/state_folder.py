"""Where plays are recorded below $XDG_STATE_HOME/growdisk: a folder a run, a claim an image.

    plays/20261125-210000-ab12/run.json     what was asked, so that --resume asks the same
    plays/20261125-210000-ab12/0-0.jsonl    the journal of the first host in the first play
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
from pathlib import Path

from growdisk.durable import replace_file, sync_directory
from growdisk.errors import Refused


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
        self._description = self.path / "run.json"

    def begin(self, description: Mapping[str, object]) -> None:
        try:
            self.path.mkdir(parents=True)
            replace_file(self._description, json.dumps(description, indent=1, default=str).encode())
            sync_directory(self.path.parent)
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
        """Nothing is left to do: the record goes, its description first."""
        self._description.unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)


def unfinished_run(playbook: Path, verb: str) -> RunFolder:
    """The newest run of the playbook that was cut short. nothing-unfinished."""
    folder, wanted = state_home() / "plays", str(playbook.resolve())
    for path in sorted(folder.iterdir(), reverse=True) if folder.is_dir() else ():
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
            place.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(place, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _state_not_writable(place.parent, reason=error.strerror or str(error)) from error
        self._held[place] = fd
        holder = os.pread(fd, 4096, 0).decode("utf-8", "replace")
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Refused.named(
                "image-claimed",
                "{image} is being worked on",
                "another run of a playbook has it ({run})",
                "wait until it has ended",
                {"image": image, "run": holder or "it is just beginning"},
            ) from error
        other = RunFolder(holder) if holder else None
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
        os.ftruncate(fd, 0)
        os.pwrite(fd, self._run.encode(), 0)

    def release(self, *, finished: bool) -> None:
        for place, fd in self._held.items():
            if finished and os.pread(fd, 4096, 0).decode() == self._run:
                place.unlink(missing_ok=True)
            os.close(fd)
        self._held.clear()
