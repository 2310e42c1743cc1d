"""What a running QEMU is busy with, by its answers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from growdisk.api.live_inspect import look
from growdisk.api.live_target import RunningGuest
from growdisk.live.qemu_machine import Machine
from growdisk.workflow.stopping import StopRequest
from tests.refusals import raises


class Answers:
    """A Monitor that knows a few answers by heart."""

    def __init__(self, **answers: object) -> None:
        self.answers = answers

    def execute(self, command: str, **arguments: object) -> object:
        return self.answers[command.replace("-", "_")]

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("answer", "migrating"),
    [
        ({}, False),
        ({"status": "completed"}, False),
        ({"status": "failed", "error-desc": "x"}, False),
        ({"status": "cancelled"}, False),
        ({"status": "setup"}, True),
        ({"status": "active", "total-time": 1}, True),
        ({"status": "postcopy-active"}, True),
        ({"status": "cancelling"}, True),
    ],
)
def test_a_machine_on_its_way_to_another_host_is_left_alone(
    answer: dict[str, object], migrating: bool
) -> None:
    machine = Machine(Answers(query_migrate=answer), "web")
    assert machine.is_migrating() == migrating


def test_a_guest_that_is_being_migrated_is_refused_before_it_is_asked(tmp_path: Path) -> None:
    answers = Answers(query_status={"status": "running"}, query_migrate={"status": "active"})
    reached = SimpleNamespace(machine=Machine(answers, "web"), disk=None)
    with raises("guest-migrating"):
        look(cast(RunningGuest, reached), tmp_path, 512, StopRequest())
