"""watch: one round by rules, on the host that the task runs on."""

from __future__ import annotations

from typing import ClassVar

from growdisk.api.watching.documents import round_document
from growdisk.api.watching.metrics import write_metrics
from growdisk.api.watching.round import Round, watch_once
from growdisk.api.watching.rules import load_rules
from growdisk.errors import GrowdiskError, NeedsUser, OperationFailed, Refused
from growdisk.fast_dataclass import dataclass
from growdisk.playbook.options import Options
from growdisk.playbook.outcome import Outcome, failure
from growdisk.playbook.perform import TaskContext

_DONE = ("grown", "would grow", "resumed")
_JOBS = 4


@dataclass(eq=False)
class DisksRefused(Refused):
    WHAT: ClassVar[str] = "{disks} could not be dealt with"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "the others are done; growdisk list says how each disk stands"
    disks: str
    reason: str


@dataclass(eq=False)
class DisksRestored(OperationFailed):
    WHAT: ClassVar[str] = DisksRefused.WHAT
    WHY: ClassVar[str] = DisksRefused.WHY
    DO: ClassVar[str] = DisksRefused.DO
    disks: str
    reason: str


@dataclass(eq=False)
class DisksStuck(NeedsUser):
    WHAT: ClassVar[str] = DisksRefused.WHAT
    WHY: ClassVar[str] = DisksRefused.WHY
    DO: ClassVar[str] = DisksRefused.DO
    disks: str
    reason: str


_OF_CODE: dict[int, type[DisksRefused | DisksRestored | DisksStuck]] = {3: DisksRefused, 4: DisksRestored}


def _watch(options: Options, manner: TaskContext) -> Outcome:
    rules = load_rules(options.place("rules"))
    ended = watch_once(rules, options.text("connect"), lambda _: None, dry_run=manner.check, jobs=_JOBS)
    metrics = options.path("metrics")
    if metrics is not None and not manner.check:
        write_metrics(metrics, ended)
    document = round_document(ended)
    if ended.code:
        return failure(_error(ended), document)
    changed = any(action.result in _DONE for action in ended.actions)
    told = "; ".join(
        f"{action.entry.name}: {action.result}, {action.detail}" for action in ended.actions if action.result in _DONE
    )
    return Outcome(changed=changed, message=told or f"nothing to do for {len(ended.actions)} disks", result=document)


def _error(ended: Round) -> GrowdiskError:
    """The worst of the round speaks for it."""
    failed = [action for action in ended.actions if action.code]
    names, why = (
        ", ".join(action.entry.name for action in failed),
        next(d.detail for d in failed if d.code == ended.code),
    )
    return _OF_CODE.get(ended.code, DisksStuck)(names, reason=why)


HANDLERS = {"watch": _watch}
