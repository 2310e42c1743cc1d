"""Runs that an earlier version began and recorded: they are read, and continued.

Each folder in earlier/ is one run: its plan and its journal, and what that version said of each
step (steps.json).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from growdisk.host.json_codec import NotThatValue
from growdisk.planner.guest_plan import growth_layers
from growdisk.planner.plan import decode_plan, encode_plan
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.guest_steps import RepairGuest
from growdisk.steps.registry import step_of
from growdisk.steps.resize_image import GrowDevice
from growdisk.storage.values import Storage
from growdisk.workflow.journal import Event, RunStatus, fold, read_journal

RUNS = sorted((Path(__file__).parent / "earlier").iterdir())
RUNNING = [run for run in RUNS if run.name.startswith("running")]


def names(runs: list[Path]) -> list[str]:
    return [run.name for run in runs]


@pytest.mark.parametrize("run", RUNS, ids=names(RUNS))
def test_its_steps_have_the_names_and_the_words_that_they_had(run: Path) -> None:
    plan = decode_plan((run / "plan.json").read_bytes())
    assert {step.name: step.describe() for step in plan.steps} == json.loads(
        (run / "steps.json").read_text()
    )
    assert decode_plan(encode_plan(plan)) == plan


@pytest.mark.parametrize("run", RUNS, ids=names(RUNS))
def test_it_stands_where_its_journal_ends(run: Path) -> None:
    steps = [step.name for step in decode_plan((run / "plan.json").read_bytes()).steps]
    state = fold(read_journal(run / "journal.jsonl"))
    assert state.status is RunStatus.UNFINISHED
    assert [state.event_of(name) for name in steps[:3]] == [
        Event.VERIFIED,
        Event.VERIFIED,
        Event.APPLYING,
    ]


@pytest.mark.parametrize("run", RUNNING, ids=names(RUNNING))
def test_each_step_finds_its_part_of_what_the_guest_was_given(run: Path) -> None:
    plan = decode_plan((run / "plan.json").read_bytes())
    assert plan.way is not None and plan.way.guest is not None
    guest, parts = plan.way.guest, growth_layers(plan.own_steps)
    for step in (step for step in plan.own_steps if step.works_at):
        growth, layer = parts[step.name]
        part = guest.growth(growth)
        if isinstance(step, GrowFilesystem):
            assert (part.filesystem.uuid, layer) == (step.uuid, 0)
        else:
            assert part.layers[layer - 1].kind == step.name.removeprefix("grow-").partition("-")[0]
    for step in (step for step in plan.own_steps if isinstance(step, RepairGuest)):
        given_up = [swap.number for swap in guest.swaps if swap.action != "move"]
        assert [part.number for part in step.swaps] == given_up


def test_a_running_guest_on_a_volume_still_grows_its_volume_first() -> None:
    """That version had one step for both: with `storage` it began with the host's device."""
    told = {
        "old_size": 1024,
        "new_size": 4096,
        "restart": False,
        "storage": {"kind": "lvm", "name": "vg0/web"},
        "device_size": 2048,
    }
    step = step_of("LiveResize", told, None)
    assert step == GrowDevice(
        1024, 4096, running=True, storage=Storage("lvm", "vg0/web"), device_size=2048
    )
    assert step.describe() == "logical volume vg0/web 1.0 KiB -> 4.0 KiB, while the guest runs"


def test_a_step_that_no_version_had_is_an_error_that_names_it() -> None:
    text = (RUNS[0] / "plan.json").read_text().replace('"kind": "GrowLuks"', '"kind": "GrowCastle"')
    with pytest.raises(NotThatValue, match="GrowCastle"):
        decode_plan(text.encode())
