"""The step contract: what the engine asks of every step.

A step only ever does its own work; snapshot, journal and rollback belong to the engine, so that no
step can forget them.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from growdisk.errors import GrowdiskError
from growdisk.fast_dataclass import dataclass, field

Context = TypeVar("Context", contravariant=True)


@dataclass(frozen=True)
class Ready:
    """The step has something to do."""


@dataclass(frozen=True)
class AlreadyDone:
    """There is nothing left to do; `reason` says in one line how that was seen."""

    reason: str


@dataclass(frozen=True)
class Blocked:
    """The step must not run; `error` says why and what to do."""

    error: GrowdiskError


Check = Ready | AlreadyDone | Blocked


@dataclass(frozen=True)
class Evidence:
    """What `apply` did, as far as `verify` needs it.

    It is journalled, so that a later run can verify as well.
    """

    detail: str
    facts: dict[str, int | str] = field(default_factory=dict)


class Step(Protocol[Context]):
    """One step of a plan.

    `name` is unique in the plan; it is the journal's key and never renamed.
    """

    @property
    def name(self) -> str: ...

    def describe(self) -> str:
        """One line for people: the same in a dry run, in the progress and in the journal."""

    def check(self, context: Context) -> Check:
        """Reads only."""

    def apply(self, context: Context) -> Evidence:
        """The only method that writes.

        Raises GrowdiskError or OSError; the engine restores the snapshot then.
        """

    def verify(self, context: Context, evidence: Evidence) -> None:
        """Reads only, by another way than apply.

        Raises GrowdiskError if the step's promise does not hold.
        """
