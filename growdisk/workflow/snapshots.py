"""What the engine needs of a snapshot store.

Every method may be called again after a crash inside it. So a snapshot's name is a function of run
and step: a later process finds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from growdisk.fast_dataclass import dataclass
from growdisk.workflow.failures import NothingToRestore


class SnapshotStore:
    """Snapshots of one run, one a step, named by the step alone: a later process finds them."""

    @property
    def can_restore(self) -> bool:
        """False if nothing can be restored at all.

        A run that fails then stays as it is, to be continued.
        """
        return True

    def is_in_use(self) -> bool:
        """Whether a guest writes to what `take` has made: `discard` would lose what it wrote.

        Nothing can be restored then, even if no step has changed anything yet.
        """
        return False

    def take(self, step: str) -> None:
        """Take the snapshot that restores what was before `step`.

        It appears atomically; one that is there already is kept.
        """
        raise NotImplementedError

    def refuse_missing(self, step: str) -> None:
        """Raise an error if somebody has removed what `restore` needs for `step`.

        Asked before a restore begins: one that is done again may have used it up itself.
        """

    def restore(self, step: str) -> None:
        """Restore the content from `step`'s snapshot, and forget the later snapshots.

        Afterwards `take(step)` describes the present content, whether it finds the snapshot still
        there or not. It needs no space on the host that the run does not hold already: the host is
        full exactly when it is called.
        """
        raise NotImplementedError

    def reserve(self) -> None:
        """Take what `keep` and `commit` will need, so that they cannot fail for want of space.

        OSError otherwise.
        """

    def keep(self) -> None:
        """Make the present content final in the image, and keep what `restore` needs."""
        raise NotImplementedError

    def commit(self) -> None:
        """Make the present content final in the image, and forget all snapshots."""
        raise NotImplementedError

    def discard(self) -> None:
        """Forget all snapshots after everything was restored."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of open files; what the store keeps stays as it is. The last call."""


class NoSnapshots(SnapshotStore):
    """`--snapshots none`: nothing can be restored, the run only goes on."""

    @property
    def can_restore(self) -> bool:
        return False

    def refuse_missing(self, step: str) -> None:
        raise NothingToRestore(step)

    def restore(self, step: str) -> None:
        raise NothingToRestore(step)

    def take(self, step: str) -> None: ...
    def keep(self) -> None: ...
    def commit(self) -> None: ...
    def discard(self) -> None: ...


# A run is named by its date, its time and some random hexadecimal digits.
_NAME = r"growdisk-(\d{8}-\d{6}-[0-9a-f]+)-([1-9]\d*)-(.+)"


@dataclass(frozen=True)
class RunSnapshot:
    """The `number`-th snapshot of a run (1: before all of it), taken as `name` before `step`."""

    name: str
    run: str
    number: int
    step: str


def snapshot_names(run: str, steps: Sequence[str]) -> dict[str, str]:
    """The name of each step's snapshot, in the order of the steps."""
    return {step: f"growdisk-{run}-{number}-{step}" for number, step in enumerate(steps, start=1)}


def run_snapshots(names: Iterable[str]) -> list[RunSnapshot]:
    """Those of `names` that are a run's, in their order. Nobody else's name looks like that."""
    found = ((name, re.fullmatch(_NAME, name)) for name in names)
    return [RunSnapshot(name, match[1], int(match[2]), match[3]) for name, match in found if match]
