"""Where plays are recorded: nothing of a process that is at work there is removed."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest

from growdisk.durable import alone_in
from growdisk.playbook.play_records import RunFolder


def test_what_somebody_is_just_recording_stays_and_what_is_left_over_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    plays = tmp_path / "growdisk" / "plays"
    others = plays / ".20261125-210000-ab12"
    others.mkdir(parents=True)
    ours = RunFolder("20261125-210001-cd34")
    beginning = Thread(target=ours.begin, args=({"playbook": "grow.yml"},))
    with alone_in(plays) as alone:
        assert alone
        beginning.start()
        beginning.join(0.3)
        assert beginning.is_alive() and others.is_dir()
    beginning.join()
    assert ours.is_unfinished and not others.exists()
