"""The machine that growdisk runs on, with a temporary directory that nobody else uses."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.process import Host


@pytest.fixture
def host() -> Iterator[Host]:
    with tempfile.TemporaryDirectory(prefix="gd-", dir="/tmp") as scratch:
        host = Host(Path(scratch))
        yield host
        for command in host.started:
            if command.process.poll() is None:
                command.kill()


@pytest.fixture(autouse=True)
def _trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """The images here are ours, and many lie on a base in another folder."""
    monkeypatch.setenv("GROWDISK_TRUST_REFERENCES", "1")
