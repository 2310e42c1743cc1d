"""Who is called back by a request to stop."""

from __future__ import annotations

import os
import signal

from growdisk.workflow.stopping import SignalsStop, StopRequest


def test_a_callback_is_called_as_long_as_its_context_lasts() -> None:
    stop, called = StopRequest(), []
    with stop.calling(lambda: called.append("ended")):
        pass
    with stop.calling(lambda: called.append("asked")):
        stop.request("SIGINT")
    assert called == ["asked"]
    assert stop.callbacks == []


def test_a_request_from_just_before_is_not_lost() -> None:
    stop, called = StopRequest(), []
    stop.request("SIGINT")
    with stop.calling(lambda: called.append(stop.signal)):
        assert called == ["SIGINT"]


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As SIGHUP under nohup."""
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with SignalsStop(StopRequest()) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested_within(0.2)
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested_within(10)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert stop.signal == "SIGTERM"
    finally:
        signal.signal(signal.SIGHUP, old)
