"""Facts and a goal make a plan, a refusal, or nothing: each file in plans/ is one case."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from growdisk.api.result import step_reports
from growdisk.errors import Refused
from growdisk.planner.layout import Layout
from growdisk.planner.plan import Plan, decode_plan, encode_plan, make_plan
from growdisk.planner.planner import propose
from growdisk.planner.proposal import GoalReached
from growdisk.workflow.journal import RunState
from tests.golden.situations import Situation, read, update

PLANS = Path(__file__).parent / "plans"
FILES = sorted(PLANS.glob("*.json"), key=lambda file: file.stem)
UPDATING = bool(os.environ.get("GROWDISK_UPDATE_GOLDEN"))
Document = dict[str, object]


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_situation_leads_to_what_is_written_down(file: Path) -> None:
    situation = read(file)
    outcome = outcome_of(situation)
    if UPDATING:
        update(file, outcome)
    else:
        assert outcome == situation.expected


def test_no_situation_got_lost() -> None:
    listed = (PLANS / "INDEX").read_text().split()
    assert [file.stem for file in FILES] == listed
    assert len(listed) >= 30


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_written_plan_is_read_back_as_it_was(file: Path) -> None:
    plan = made(read(file))
    if isinstance(plan, Plan):
        assert decode_plan(encode_plan(plan)) == plan


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_steps_of_a_plan_have_names_of_their_own(file: Path) -> None:
    plan = made(read(file))
    if isinstance(plan, Plan):
        names = [step.name for step in plan.steps]
        assert len(set(names)) == len(names)
        table = ["rewrite-partitions", "reread-partitions"] if plan.before.table.type else []
        assert names[: 1 + len(table)] == ["resize-image", *table]


def made(situation: Situation) -> Plan | GoalReached | Refused:
    try:
        goal = situation.asked.goal()
        proposal = propose(situation.facts, goal)
        if isinstance(proposal, GoalReached):
            return proposal
        return make_plan("run-1", situation.facts, proposal, goal, situation.options.given())
    except Refused as refusal:
        return refusal


def outcome_of(situation: Situation) -> Document:
    outcome = made(situation)
    if isinstance(outcome, GoalReached):
        return {"result": "nochange", "reason": outcome.reason}
    if isinstance(outcome, Refused):
        return {
            "result": "refused",
            "what": outcome.what,
            "why": outcome.why,
            "do": outcome.what_to_do,
        }
    return _planned(outcome)


def _planned(plan: Plan) -> Document:
    written = json.loads(encode_plan(plan))
    return {
        "result": "planned",
        "snapshots": plan.snapshots,
        "keep": plan.keep,
        "given_up": list(plan.given_up),
        "says": [f"{report.name}: {report.detail}" for report in step_reports(plan, RunState())],
        **({"notes": list(plan.notes)} if plan.notes else {}),
        "steps": [
            {"kind": step["kind"], **_condensed(step["fields"])} for step in written["steps"]
        ],
        "after": _described(plan.after),
    }


def _condensed(fields: dict[str, Any]) -> Document:
    """A step's fields, with a table as one string a partition; what is empty is left out."""
    return {
        name: _partitions(value)
        if name in ("before", "after", "table")
        else _identities(name, value)
        for name, value in fields.items()
        if not (name in ("moves", "suffix", "gone", "others") and not value)
    }


def _identities(name: str, value: Any) -> Any:
    """What names a removed partition, without what is as ever."""
    if name not in ("swaps", "gone"):
        return value
    return [
        {
            k: v
            for k, v in item.items()
            if not (k == "is_swap" or (k in ("mapped", "stems") and not v))
        }
        for item in value
    ]


def _partitions(table: dict[str, Any]) -> list[str]:
    return [
        (
            f"{part['number']}{'*' * part['bootable']} {part['start']}..{part['end']} "
            f"{part['role']} {part['type_code']}"
        )
        for part in table["partitions"]
    ]


def _described(layout: Layout) -> list[str]:
    lines = [f"disk {layout.image.virtual_size}: {layout.table.type} {layout.table.id}"]
    for part in layout.partitions:
        holds = f"{part.content.kind} {part.content.size}" if part.content else "-"
        lines.append(f"{part.name} {part.start}..{part.end} {part.role} {part.type}: {holds}")
    return [*lines, *(f"free {free.start}..{free.start + free.size}" for free in layout.free)]
