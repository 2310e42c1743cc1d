"""The collection, built and installed once, and controllers that use it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ansible.playing import ROOT, SHIPPED, Ansible
from tests.guests.cache import cached, recipe_hash
from tests.guests.tools import run


@pytest.fixture(scope="session")
def collections() -> Path:
    """As `make collection` does it; once for all processes."""
    script, source = ROOT / "setup/collection.sh", SHIPPED / "collection"
    files = [path for path in source.rglob("*") if path.is_file()]
    key = f"collection-{recipe_hash([script, *files])[:20]}"
    return cached(key, lambda folder: run(script, folder, folder / "built"))


@pytest.fixture
def ansible(collections: Path) -> Iterator[Ansible]:
    """A short path, as sockets need it."""
    with tempfile.TemporaryDirectory(prefix="gd-", dir="/tmp") as home:
        yield Ansible(Path(home), collections)
