"""Runs that are killed at a chosen moment."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.process import Host, journal, wait_for


@dataclass(frozen=True)
class Death:
    """Up to `within` seconds after the journal has `event` of `step`."""

    event: str
    step: str | None
    within: float

    def __str__(self) -> str:
        return f"{self.event}-{self.step or 'run'}-{self.within}"


def die(host: Host, image: Path, death: Death, *words: str | Path) -> None:
    known = len(journal(image)) if words[0] == "resume" else 0
    command = host.start(*words)
    wait_for(command, image, death.event, death.step, known=known)
    time.sleep(random.uniform(0, death.within))
    command.kill()
    host.assert_quiet()
