"""Who is called back by a request to stop."""

from __future__ import annotations

from growdisk.workflow.stopping import StopRequest


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
