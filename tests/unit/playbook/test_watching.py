"""The task watch: what its round came to, and metrics that cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.api.fleet.values import DiskEntry
from growdisk.api.watching.actions import Action
from growdisk.api.watching.round import Round
from growdisk.playbook.perform import perform


@pytest.mark.parametrize(
    ("result", "code", "told"),
    [("stuck", 5, "disks-stuck"), ("refused", 3, "metrics-not-written"),
        ("grown", 0, "metrics-not-written")],
)  # fmt: skip
def test_the_worse_of_the_round_and_its_metrics_is_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: str, code: int, told: str
) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(f"rules: [{{images: '{tmp_path}/*.qcow2'}}]")
    ended = Round((Action(DiskEntry("web"), result, code, "why"),), 1.0, dry_run=False)  # type: ignore[arg-type]
    monkeypatch.setattr("growdisk.playbook.tasks.watching.watch_once", lambda *_, **__: ended)
    outcome = perform("watch", {"rules": str(rules), "metrics": "/dev/null"})
    assert outcome.error is not None
    assert (outcome.error.ID, outcome.error.exit_code) == (told, max(code, 3))
    assert "cannot write the metrics" in outcome.message
    # The disks are told all the same.
    assert outcome.result["code"] == code
