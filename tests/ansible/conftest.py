"""The collection, built and installed once, and controllers that use it."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ansible.playing import ROOT, Ansible


@pytest.fixture(scope="session")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make collection` does it."""
    folder = tmp_path_factory.mktemp("collections")
    done = subprocess.run(
        [ROOT / "setup/collection.sh", folder, folder / "built"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def ansible(collections: Path) -> Iterator[Ansible]:
    """A short path, as sockets need it."""
    with tempfile.TemporaryDirectory(prefix="gd-", dir="/tmp") as home:
        yield Ansible(Path(home), collections)
