"""How a run ended, in the words of a Result: the same for guests that are off and guests that run."""

from __future__ import annotations

from collections.abc import Callable

from growdisk.api.result import Outcome
from growdisk.errors import GrowdiskError, NeedsUser, Refused
from growdisk.workflow.failures import RunStopped
from growdisk.workflow.journal import Event
from growdisk.workflow.states import RunState, Status


def run_to_outcome(action: Callable[[], RunState]) -> GrowdiskError | None:
    """Do it. Errors of growdisk are how it ended; everything else is a bug."""
    try:
        action()
    except GrowdiskError as failure:
        return failure
    except OSError as failure:
        return RunStopped(reason=str(failure))
    return None


def how_far_back(state: RunState) -> str:
    """What to say after a rollback down to one step; "" after everything else."""
    if state.status is not Status.UNFINISHED:
        return ""
    undone = ", ".join(name for name, record in state.last.items() if record.event is Event.RESTORED)
    return f"undone: {undone}; growdisk resume does it again, growdisk rollback undoes the rest"


def outcome(state: RunState, error: GrowdiskError | None) -> Outcome:
    if isinstance(error, NeedsUser):
        return "stuck"
    if state.status is Status.UNFINISHED and error is None:
        return "restored"  # down to one step, as asked
    if state.status is Status.UNDONE:
        return "refused" if isinstance(error, Refused) else "restored"
    return "changed" if error is None else "stuck"
