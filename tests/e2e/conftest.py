"""The machine that growdisk runs on, with a temporary directory that nobody else uses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.process import Host, hosted


@pytest.fixture
def host() -> Iterator[Host]:
    with hosted(Host) as host:
        yield host


@pytest.fixture(autouse=True)
def _trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """The images here are ours, and many lie on a base in another folder."""
    monkeypatch.setenv("GROWDISK_TRUST_REFERENCES", "1")
