"""growdisk as a real process, and guests that run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.process import Answer, Host, hosted
from tests.online.machine import LiveGuest, started, wake_copy


class PatientHost(Host):
    """Waits for an emulated guest on a busy machine: minutes for what takes seconds when idle."""

    def growdisk(self, *words: str | Path) -> Answer:
        return self.start(*words).ended(1200)


@pytest.fixture
def host() -> Iterator[Host]:
    with hosted(PatientHost) as host:
        yield host


@pytest.fixture
def scsi_guest(tmp_path: Path) -> Iterator[LiveGuest]:
    """The Debian guest, awake, its disk on virtio-scsi."""
    with started(wake_copy("scsi", tmp_path), disk="scsi", woken=True) as guest:
        yield guest


@pytest.fixture(scope="module")
def awake_guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGuest]:
    """The same, for all tests of a module: none of them changes its disk."""
    folder = tmp_path_factory.mktemp("awake")
    with started(wake_copy("scsi", folder), disk="scsi", woken=True) as guest:
        yield guest


@pytest.fixture(autouse=True)
def _trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """The images here are ours, and many lie on a base in another folder."""
    monkeypatch.setenv("GROWDISK_TRUST_REFERENCES", "1")
