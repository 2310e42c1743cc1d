"""A folder of devices on a machine that is overloaded."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.block.host_devices import mounts
from growdisk.block.raw import RawFile
from growdisk.errors import ToolTimedOut
from growdisk.host import fuse_mount
from growdisk.host.command import require


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Temporary files. The real fusermount3 waits for the file `go` if $SLOW is its first word.

    It may be called once more when the test is over and its folder gone.
    """
    script, scratch, go = tmp_path / "bin" / fuse_mount.TOOL, tmp_path / "tmp", tmp_path / "go"
    wait = f'[ "$1" != "$SLOW" ] || while [ -e {script} ] && [ ! -e {go} ]; do sleep 0.1; done'
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\n{wait}\nexec {require(script.name)} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=":")
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    return scratch


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[RawFile]:
    with closing(RawFile.create(tmp_path / "disk", 4096)) as disk:
        yield disk


def goes_on(scratch: Path) -> bool:
    """Whether all is gone after a while when fusermount3 does its work at last."""
    scratch.with_name("go").touch()
    for _ in range(600):
        if not any(scratch.iterdir()) and not any(str(scratch) in one.place for one in mounts()):
            return True
        time.sleep(0.1)
    return False


def test_what_is_unmounted_late_does_not_fail(
    scratch: Path, disk: RawFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOW", "-u")
    with fuse_mount.mounted({"disk": disk}) as (place, _):
        assert (place / "disk").read_bytes() == bytes(4096)
        monkeypatch.setattr(fuse_mount, "_PATIENCE", 0.5)
    assert goes_on(scratch)


def test_what_is_mounted_late_has_timed_out(
    scratch: Path, disk: RawFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOW", "-o")
    monkeypatch.setattr(fuse_mount, "_PATIENCE", 1.0)
    with pytest.raises(ToolTimedOut), fuse_mount.mounted({"disk": disk}):
        pass
    assert goes_on(scratch)
