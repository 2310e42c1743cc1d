"""provision: a ready image of a base image."""

from __future__ import annotations

from typing import ClassVar

from growdisk.errors import Refused
from growdisk.playbook.options import Options
from growdisk.playbook.outcome import Outcome
from growdisk.playbook.perform import Manner
from growdisk.values import dataclass


@dataclass(eq=False)
class NotYet(Refused):
    WHAT: ClassVar[str] = "{task} is not there yet"
    task: str


def _provision(options: Options, manner: Manner) -> Outcome:
    raise NotYet(options.task)


DEEDS = {"provision": _provision}
