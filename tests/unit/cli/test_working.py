"""Long work shows that it goes on, on a terminal alone; quick work shows nothing."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from growdisk.cli.output import CommandOutput
from growdisk.cli.progress import Spinner
from tests.conftest import DiskMaker
from tests.unit.cli.command import GROWDISK, environment


def shown(*words: str | Path) -> tuple[int, str]:
    """What a command shows on a terminal."""
    main, sub = pty.openpty()
    with subprocess.Popen(
        [GROWDISK, *words], stdin=sub, stdout=sub, stderr=sub, env=environment()
    ) as process:
        os.close(sub)
        out = b""
        while True:
            try:
                out += os.read(main, 4096)
            except OSError:  # the terminal is closed: the process has ended
                break
        os.close(main)
        return process.wait(), out.decode()


def test_without_a_terminal_nothing_moves() -> None:
    with CommandOutput().working("checking") as moving:
        assert moving is None


def test_work_that_goes_on_is_shown_with_its_names(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("growdisk.cli.progress._SOON", 0.0)
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes stderr for a terminal
    with Spinner("") as working:
        assert working._timer is not None
        working._timer.join()
        working.begins("making web-1.qcow2")
        working.begins("making web-2.qcow2")
        assert working._live is not None
        working._live.refresh()
        assert working.say("+ web-1.qcow2")
        working.ends("making web-1.qcow2")
    err = capfd.readouterr().err
    assert "making web-1.qcow2, making web-2.qcow2" in err
    assert "+ web-1.qcow2" in err


def test_comparing_shows_how_far_it_is(small_disk: DiskMaker, tmp_path: Path) -> None:
    disk = small_disk()
    subprocess.run(["cp", disk, tmp_path / "copy.qcow2"], check=True)
    code, out = shown("image", "compare", disk, tmp_path / "copy.qcow2")
    assert (code, "comparing guest.qcow2" in out) == (0, True)
