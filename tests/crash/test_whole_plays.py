"""growdisk run as a whole, killed at any change of the host, then --resume or --undo."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.crash.whole import Host, killed, some
from tests.crash.whole_disks import assert_same, make_disk

PLAY = """\
- name: Step by step
  hosts: "disks/guest.*"
  vars:
    growdisk_on_failure: play
  tasks:
    - growdisk.disk.resize_image: {image: "{{ image }}", size: 24M}
    - growdisk.disk.image: {image: "{{ image }}", size: +8M}
    - growdisk.disk.rewrite_partitions: {image: "{{ image }}", partition: 1}
    - growdisk.disk.convert: {image: "{{ image }}", dest: disks/new.raw, to: raw}
"""


class Play:
    def __init__(self, folder: Path, name: str) -> None:
        pristine, self.grown = folder / "pristine", folder / "grown"
        pristine.mkdir()
        make_disk(pristine / name, filesystem=False)
        (pristine / "play.yml").write_text(PLAY)
        self.host = Host(folder / "host", pristine)
        self.image, self.new = self.host.disks / name, self.host.disks / "new.raw"
        self.words = ("run", self.host.disks / "play.yml")
        self.changes = self.host.changes(*self.words)
        shutil.copytree(self.host.disks, self.grown)
        self.judge(grown=True)

    def die(self, change: int) -> bool:
        self.host.reset()
        return self.host.command(*self.words, dies_before=change) is None

    def judge(self, *, grown: bool, claimed: bool = False) -> None:
        state = self.host.answer("status", self.image, "--json").json()["state"]
        assert state in ("done", "undone") if grown else state in ("none", "undone")
        self.judge_disks(grown=grown)
        left = self.host.left_over()
        if claimed:  # the next play on these images removes that, and the folder of a record
            left = [path for path in left if "/.state/growdisk/" not in path]
        assert left == [], left

    def judge_disks(self, *, grown: bool) -> None:
        assert_same(self.image, (self.grown if grown else self.host.pristine) / self.image.name)
        assert self.new.exists() == grown
        self.new.unlink(missing_ok=True)

    def finish(self, change: int) -> str:
        listed = self.host.answer("list", self.host.disks, "--json").json()["disks"]
        assert {Path(disk["path"]).name for disk in listed} <= {self.image.name, "new.raw"}
        verb = "--undo" if change % 2 else "--resume"
        ended = self.host.command(*self.words, verb, "--json")
        assert ended is not None
        if ended.code == 0:
            self.judge(grown=verb == "--resume")
            return verb
        name = ended.json()["error"]["id"]
        assert ended.code == 3, ended
        if name == "play-has-ended":
            self.host.answer(*self.words, "--resume")
            self.judge(grown=True)
            return str(name)
        assert name == "nothing-unfinished"
        if self.new.exists():  # all was done but the last bit of its record
            self.judge(grown=True, claimed=True)
            return "done"
        self.host.answer(*self.words)
        self.judge(grown=True)
        return str(name)


def test_a_play_that_is_killed_is_gone_on_with_or_taken_back(tmp_path: Path) -> None:
    play = Play(tmp_path, "guest.raw")
    assert {"--resume", "--undo"} <= killed(play, some(play.changes))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["guest.qcow2", "guest.raw"])
def test_a_play_that_is_killed_at_any_change(tmp_path: Path, name: str) -> None:
    play = Play(tmp_path, name)
    assert killed(play, range(play.changes)) == {
        "--resume", "--undo", "nothing-unfinished", "play-has-ended", "done",
    }  # fmt: skip


def failed(play: Play, changes: Iterable[int]) -> set[int]:
    """Exit codes where one change of a file fails."""
    found = set()
    for number, change in enumerate(changes):
        play.host.reset()
        error = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES)[number % 4]
        ended, _ = play.host.failing(*play.words, change=change, error=error)
        try:
            assert ended.code in (0, 3, 4, 5)
            grown = ended.code == 0
            if ended.code == 5:
                undone = play.host.command(*play.words, "--undo")
                assert undone is not None and undone.code in (0, 3), undone
                if grown := undone.code == 3:  # it had ended, and a part of its way back is gone
                    play.host.answer(*play.words, "--resume")
            # the folder of a run that could not be put away is its record
            play.judge_disks(grown=grown)
        except AssertionError as wrong:
            told = f"{os.strerror(error)} at change {change}: {ended}: {wrong}"
            raise AssertionError(told) from wrong
        found.add(ended.code)
    return found


def test_a_play_whose_records_cannot_be_written_can_be_taken_back(tmp_path: Path) -> None:
    play = Play(tmp_path, "guest.qcow2")
    assert 5 in failed(play, range(17, 50, 8))


@pytest.mark.slow
def test_a_play_that_fails_at_any_change_is_done_or_can_be_taken_back(tmp_path: Path) -> None:
    play = Play(tmp_path, "guest.qcow2")
    assert failed(play, range(play.changes)) == {0, 3, 4, 5}
