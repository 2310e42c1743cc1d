"""The metrics of a round, as Prometheus' own promtool judges them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from growdisk.api.fleet.values import DiskEntry, FileSystemUse
from growdisk.api.watching.actions import Action
from growdisk.api.watching.round import Round, as_text
from tests.guests.cache import cached
from tests.guests.tools import run


@pytest.fixture(scope="module")
def promtool() -> Path:
    """Out of Debian's package, which would also start a server if it were installed."""
    return cached("promtool-bookworm", _fetch) / "usr/bin/promtool"


def _fetch(folder: Path) -> None:
    run("apt-get", "-q", "download", "prometheus", cwd=folder)
    (package,) = folder.glob("prometheus_*.deb")
    run("dpkg-deb", "--extract", package, folder)
    package.unlink()
    (folder / "usr/bin/prometheus").unlink()


HOSTILE = 'a"b\\c\nd\x1b[31m{}\udcff<script>'


@pytest.mark.parametrize("name", ["web01", HOSTILE], ids=["plain", "hostile"])
def test_promtool_finds_nothing_wrong(promtool: Path, name: str) -> None:
    use = (FileSystemUse("/", "ext4", 100, 80, "agent"), FileSystemUse(name, "xfs", 7, 7))
    known = DiskEntry(name, virtual_size=1 << 62, actual_size=0, file_systems=use, idle=3)
    actions = (
        Action(known, "grown", new_size=20), Action(DiskEntry("b", error={}), "refused", 3),
        Action(known, "would grow"), Action(DiskEntry("c"), "nothing"),
    )  # fmt: skip
    for ended in (Round(actions, 1.5, dry_run=False), Round((), 0.0, dry_run=False)):
        text = as_text(ended, 1e9).encode("utf-8", "replace")
        words = [promtool, "check", "metrics"]
        done = subprocess.run(
            words, input=text, capture_output=True, env=os.environ | {"LC_ALL": "C.UTF-8"}
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_promtool_finds_what_is_wrong(promtool: Path) -> None:
    """So that the test above can fail."""
    done = subprocess.run(
        [promtool, "check", "metrics"], input=b"growdiskCount{} 1\n", capture_output=True
    )
    assert done.returncode != 0
