"""Who reads what a run is in the middle of is told so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Copier
from tests.guests.loops import loop
from tests.unit.cli.command import in_process
from tests.unit.cli.runs import run_on, shown_by


@pytest.mark.parametrize("keep", [False, True])
def test_who_reads_what_shows_an_image_in_the_middle_of_a_run_is_told(
    copied: Copier, tmp_path: Path, keep: bool
) -> None:
    image, tops = copied("guest.raw"), shown_by(tmp_path)
    run_on(image, keep=keep, dies_at=None if keep else "rewrite-partitions")
    other = tmp_path / "other.qcow2"
    assert in_process("image", "create", other, "1M").code == 0
    for number, top in enumerate(tops):
        for words in (
            ("convert", top, tmp_path / f"new{number}.raw"),
            ("compare", other, top),
            ("read", top, "0", "4k", tmp_path / f"bytes{number}"),
        ):
            told = in_process("image", *words).err
            assert ("has an unfinished run" in told) == (not keep), told
        # the file itself has no half of anything
        assert "half done" not in in_process("image", "copy", top, tmp_path / f"top{number}").err
    told = in_process("image", "rebase", tops[0]).err
    assert (f"{image} has an unfinished run" in told) == (not keep), told


@pytest.mark.skipif(os.geteuid() != 0, reason="loop devices are root's")
def test_who_reads_a_device_in_the_middle_of_a_run_is_told(
    copied: Copier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROWDISK_STATE_DIR", str(tmp_path / "state"))
    image = copied("guest.raw")
    os.truncate(image, image.stat().st_size + (64 << 20))
    with loop(image) as device:
        run_on(device, dies_at="rewrite-partitions", size="")
        for number, source in enumerate((device, image)):  # one disk, two names
            answer = in_process("image", "convert", source, tmp_path / f"new{number}.raw")
            assert (answer.code, "half done" in answer.err) == (0, True), answer
        assert in_process("rollback", device).code == 0


@pytest.mark.parametrize("name", ["guest.qcow2", "guest.raw"])
@pytest.mark.parametrize("keep", [False, True])
def test_who_reads_an_image_in_the_middle_of_a_run_is_told(
    copied: Copier, tmp_path: Path, name: str, keep: bool
) -> None:
    image = copied(name)
    run_on(image, keep=keep, dies_at=None if keep else "rewrite-partitions")
    for number, words in enumerate((("convert", image), ("copy", image))):
        answer = in_process("image", *words, tmp_path / f"new{number}.raw")
        assert (answer.code, "half done" in answer.err) == (0, not keep), answer
