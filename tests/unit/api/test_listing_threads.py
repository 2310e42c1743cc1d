"""libvirt is asked by a thread, and processes are forked after that."""

from __future__ import annotations

import threading
import time

import pytest

from growdisk.errors import Refused
from growdisk.live import libvirt_domain
from growdisk.live.libvirt_domain import machines_within
from tests.refusals import raises


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "libvirt"]


def test_the_thread_that_has_asked_libvirt_has_ended_when_its_answer_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = libvirt_domain._answer

    def slow_to_end(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        time.sleep(0.3)

    monkeypatch.setattr("growdisk.live.libvirt_domain._answer", slow_to_end)
    with pytest.raises(Refused):
        machines_within("qemu+unix:///system?socket=/nowhere", 60)
    assert threads() == []
    monkeypatch.setattr("growdisk.live.libvirt_domain.known_machines", lambda uri: ())
    assert machines_within(None, 60) == ()
    assert threads() == []


def test_a_libvirt_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr("growdisk.live.libvirt_domain.known_machines", lambda uri: release.wait(60))
    try:
        with raises("libvirt-unreachable", match="no answer within"):
            machines_within(None, 0.2)
    finally:
        release.set()
