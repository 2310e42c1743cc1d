"""What --json shows of a Result: the contract's keys, for the command line and for the tasks of playbooks."""

from __future__ import annotations

from dataclasses import asdict

from growdisk.api.result import Result
from growdisk.errors import error_document


def document(result: Result) -> dict[str, object]:
    content: dict[str, object] = {
        "result": result.result, "run": result.run, "backend": result.backend, "snapshots": result.snapshots,
        "kept": result.kept, "before": asdict(result.before), "after": asdict(result.after),
        "steps": [asdict(step) for step in result.steps], "given_up": list(result.given_up),
    }  # fmt: skip
    if result.others:
        content["others"] = [{"before": asdict(before), "after": asdict(after)} for before, after in result.others]
    if result.backend_reason:
        content["backend_reason"] = result.backend_reason
    if result.notes:
        content["notes"] = list(result.notes)
    if result.reason:
        content["reason"] = result.reason
    if result.error:
        content["error"] = error_document(result.error)
    return content
