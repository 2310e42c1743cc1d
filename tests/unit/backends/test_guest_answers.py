"""What a guest says is taken for what it is: a claim, of any length and with anything in it."""

from __future__ import annotations

import json

import pytest

from growdisk.guest_scripts.answers import MAX_LINE, ScriptOutcome, parse_answer
from growdisk.guest_scripts.script_plan import Phase
from tests.refusals import raises

GOOD: dict[str, object] = {
    "growdisk": 1,
    "run": "run-1",
    "phase": "grow",
    "result": "done",
    "what": "a",
    "facts": {},
}


def said(**changes: object) -> bytes:
    return json.dumps(GOOD | changes).encode()


def saved(sector: object) -> bytes:
    return said(facts={"saved": [{"sector": sector, "hex": "00"}]})


def test_the_last_line_is_the_answer() -> None:
    facts = {"saved": [{"sector": 0, "hex": "55aa"}], "new": True}
    answer = parse_answer(Phase.GROW, "run-1", b"noise\n{}\n" + said(facts=facts) + b"\r\n\n")
    assert (answer.result, answer.facts.saved[0].hex) == (ScriptOutcome.DONE, "55aa")


def test_foreign_text_is_one_line_without_control_characters_and_not_endless() -> None:
    answer = parse_answer(Phase.GROW, "run-1", said(what="a\x1b[2J\nb\u202e" + "x" * 1000))
    assert answer.what.startswith("a [2J b x")
    assert len(answer.what) == 500
    assert "\x1b" not in repr(answer)


@pytest.mark.parametrize(
    "output",
    [
        b"", b"\n\n", b"no json", b"[]", b"null", b"\xff\xfe", b"{", b"[" * 100000, said()[:-1],
        said(growdisk=2), said(run="run-2"), said(phase="undo"), said(phase="rm"),
        said(result="fine"),
        said(what=3), saved("x"), saved(10**30), said(facts={"saved": "?"}),
        said(facts=[]), said(what="\ud800"), saved(-1), said(what="x" * MAX_LINE),
        said() + b"\nkilled",
    ],
    ids=range(23),
)  # fmt: skip
def test_everything_else_is_an_error_that_says_so(output: bytes) -> None:
    with raises("guest-answer-bad") as caught:
        parse_answer(Phase.GROW, "run-1", output)
    assert caught.value.exit_code == 4
    assert len(caught.value.why) < 1200
    assert caught.value.why.isprintable()
