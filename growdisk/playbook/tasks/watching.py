"""watch: one round by rules, on the host that the task runs on."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from growdisk.api.watching.round import Round, round_document, watch_once, write_metrics
from growdisk.api.watching.rules import load_rules
from growdisk.errors import GrowdiskError, NeedsUser, OperationFailed, Refused
from growdisk.given_file import refuse_to_replace
from growdisk.playbook.options import Options
from growdisk.playbook.perform import TaskContext, TaskResult, failure

_DONE = ("grown", "would grow", "resumed")
_JOBS = 4
_OTHERS = "the others are done; growdisk list says how each disk stands"


def _watch(options: Options, context: TaskContext) -> TaskResult:
    rules = load_rules(options.place("rules"))
    metrics = options.path("metrics")
    if metrics is not None:
        refuse_to_replace(metrics, "metrics")
    ended = watch_once(
        rules,
        options.text("connect"),
        lambda _: None,
        dry_run=context.check,
        jobs=_JOBS,
        # Under growdisk run the host's process has turned signals into this request already.
        stopping=nullcontext(context.stop) if context.stop else None,
    )
    # Before the task may fail: metrics are there to show that.
    refused = None if metrics is None or context.check else _unwritten(metrics, ended)
    document = round_document(ended)
    # The worse of two errors speaks: a guest that needs a person (5) matters more than a file of
    # metrics that was refused (3).
    if refused is not None and ended.code <= refused.exit_code:
        return failure(refused, document)
    if ended.code:
        return failure(_error(ended, f"; {refused}" if refused else ""), document)
    done = [action for action in ended.actions if action.result in _DONE]
    summary = "; ".join(f"{each.entry.name}: {each.result}, {each.detail}" for each in done)
    message = summary or f"nothing to do for {len(ended.actions)} disks"
    return TaskResult(bool(done), message, document)


def _unwritten(metrics: Path, ended: Round) -> Refused | None:
    """Write them; why they could not be written."""
    try:
        write_metrics(metrics, ended)
    except Refused as error:
        return error
    return None


def _error(ended: Round, more: str) -> GrowdiskError:
    """The worst of the round speaks for it; `more` is said after its reason."""
    failed = [action for action in ended.actions if action.code]
    names = tuple(action.entry.name for action in failed)
    # The round's code is that of its worst disk.
    reason = next(action.detail for action in failed if action.code == ended.code) + more
    # The task fails with the round's own exit code: 3, 4, or 5.
    match ended.code:
        case 3:
            return Refused.because(
                "disks-refused", "{disks} could not be dealt with", reason, _OTHERS, disks=names
            )
        case 4:
            return OperationFailed.because(
                "disks-restored", "{disks} could not be dealt with", reason, _OTHERS, disks=names
            )
    return NeedsUser.because(
        "disks-stuck", "{disks} could not be dealt with", reason, _OTHERS, disks=names
    )


HANDLERS = {"watch": _watch}
