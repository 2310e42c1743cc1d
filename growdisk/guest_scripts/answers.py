"""The one JSON line in which a guest-side script ends, as values.

What a guest says is never trusted.

    {"growdisk": 1, "run": "…", "phase": "grow", "result": "done", "what": "…", "why": "…", "do":
    "…",
     "disk": "/dev/sda", "facts": {…}}

The exit status says the same as `result`: done and already 0, refused 3 (this phase changed
nothing), failed 4 (and put back what it had begun), stuck 5 (a person is needed), reboot 10 (the
kernel cannot go on before a restart). A guest may be broken into: lengths are bounded, control
characters taken out, and no value becomes part of a command.
"""

from __future__ import annotations

import re
from enum import Enum

from growdisk.errors import OperationFailed
from growdisk.fast_dataclass import dataclass, field, replace
from growdisk.guest_scripts.script_plan import Phase
from growdisk.host.json_codec import NotThatValue, decoded

PROTOCOL = 1
MAX_LINE = 1 << 20
_MAX_TEXT = 500
_MAX_NUMBER = (1 << 63) - 1
_CONTROL = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+"


class ScriptOutcome(Enum):
    DONE = "done"
    ALREADY = "already"
    REFUSED = "refused"
    FAILED = "failed"
    STUCK = "stuck"
    REBOOT = "reboot"


@dataclass(frozen=True)
class SavedSectors:
    """Sectors before rewrite: the first one's number (of 512 bytes), and their bytes in hex."""

    sector: int
    hex: str


@dataclass(frozen=True)
class GuestFacts:
    """What a phase reports with its result, as far as anybody here needs it: prepare has `saved`.

    The rest is for those who read the line itself, or the guest's log.
    """

    saved: tuple[SavedSectors, ...] = ()


@dataclass(frozen=True)
class Answer:
    growdisk: int
    run: str
    phase: Phase
    result: ScriptOutcome
    what: str = ""
    why: str = ""
    do: str = ""
    facts: GuestFacts = field(default_factory=GuestFacts)


def _guest_answer_bad(phase: str, reason: str) -> OperationFailed:
    return OperationFailed.named(
        "guest-answer-bad",
        "the guest's {phase} script did not answer as it should",
        "{reason}",
        "look at /var/log/growdisk.log in the guest; running the same command again goes on from "
        "there",
        {"phase": phase, "reason": reason},
    )


def parse_answer(phase: Phase, run: str, output: bytes) -> Answer:
    """The answer in a script's stdout, its last line; guest-answer-bad if not of this run."""
    lines = output.rstrip().rsplit(b"\n", 1)
    line = lines[-1].strip()
    if not line or len(line) > MAX_LINE:
        raise _guest_answer_bad(
            phase.value, reason="it said nothing" if not line else "its answer is too long"
        )
    try:
        answer = decoded(line.decode("utf-8", "replace"), Answer)
    except NotThatValue as error:
        raise _guest_answer_bad(phase.value, reason=f"{error}; it said: {clean(line)}") from error
    if (answer.growdisk, answer.run, answer.phase) != (PROTOCOL, run, phase):
        reason = f"it answered for phase {answer.phase.value} of run {clean(answer.run)}"
        raise _guest_answer_bad(phase.value, reason=reason)
    if not all(0 <= saved.sector <= _MAX_NUMBER for saved in answer.facts.saved):
        raise _guest_answer_bad(phase.value, f"its numbers cannot be; it said: {clean(line)}")
    what, why, do = map(clean, (answer.what, answer.why, answer.do))
    return replace(answer, what=what, why=why, do=do)


def clean(text: str | bytes) -> str:
    """Foreign text as it may be shown: one line, no control characters, not endless."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    words = re.sub(_CONTROL, " ", words).strip()
    return words if len(words) <= _MAX_TEXT else words[: _MAX_TEXT - 1] + "…"
