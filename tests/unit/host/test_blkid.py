"""blkid waits behind its walls until it is asked, and is gone when nobody asks any more."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.block.window import Window
from growdisk.host import blkid as blkid_module
from growdisk.host import fuse_mount
from growdisk.host.blkid import Blkid, BlkidResult
from growdisk.host.command import kill_all
from tests.guests.tools import run


class _Slow(Window):
    """A device whose first read begins, and takes a while."""

    def __init__(self, below: RawFile) -> None:
        super().__init__(below, 0, below.size)
        self.begun = threading.Event()

    def read(self, offset: int, length: int) -> bytes:
        self.begun.set()
        time.sleep(0.5)
        return super().read(offset, length)


def _swap(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(8 << 20)
    run("mkswap", path)
    return path


def test_it_answers_for_each_file(tmp_path: Path) -> None:
    device = RawFile.open(_swap(tmp_path / "swap"), writable=False)
    blkid = Blkid()
    blkid.ask({"all": device, "none": Window(device, 1 << 20, 1 << 20)})
    assert blkid.answer() == {"all": BlkidResult("swap", "other"), "none": BlkidResult()}
    blkid.close()
    device.close()


def test_without_a_question_it_ends() -> None:
    blkid = Blkid()
    blkid.close()
    assert blkid.answer() == {}


def test_while_it_looks_it_can_be_ended(tmp_path: Path) -> None:
    device = RawFile.open(_swap(tmp_path / "swap"), writable=False)
    slow, blkid = _Slow(device), Blkid()
    blkid.ask({"all": slow})
    assert slow.begun.wait(60)
    blkid.close()
    assert blkid.answer() != {"all": BlkidResult("swap", "other")}
    device.close()


def test_before_its_walls_stand_nobody_is_killed_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty word is in every command line."""
    device = RawFile.open(_swap(tmp_path / "swap"), writable=False)
    killed: list[str] = []
    monkeypatch.setattr(blkid_module, "kill_all", killed.append)
    begin = fuse_mount.start
    monkeypatch.setattr(fuse_mount, "start", lambda *a, **k: time.sleep(0.5) or begin(*a, **k))
    blkid = Blkid()
    blkid.ask({"all": device})
    blkid.close()
    assert not [word for word in killed if not word.startswith("/")]
    device.close()
    with pytest.raises(ValueError, match="every process"):
        kill_all("")
