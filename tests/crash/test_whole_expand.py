"""growdisk expand as a whole, killed at any change of the host, then what a user would type next.

Each answer is as documented, what follows ends done or undone, and nothing is left on the host.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.crash.expansion import KINDS, Expansion
from tests.crash.whole import killed, some


@pytest.mark.parametrize("kind", ["internal", "overlay"])
def test_an_expand_that_is_killed_is_finished_or_taken_back_or_done_again(
    tmp_path: Path, kind: str
) -> None:
    expansion = Expansion(tmp_path, kind)
    assert killed(expansion, some(expansion.changes)) == {"none", "unfinished", "done"}


@pytest.mark.slow
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_an_expand_that_is_killed_at_any_change(tmp_path: Path, kind: str, keep: bool) -> None:
    expansion = Expansion(tmp_path, kind, *(["--keep-snapshots"] if keep else []))
    states = killed(expansion, range(expansion.changes))
    assert states == {"none", "unfinished", "kept" if keep else "done"} - {"kept"} | (
        {"kept"} & states
    )


def begun(expansion: Expansion, change: int) -> str | None:
    """The verb that follows a death at this change, if a run was begun."""
    assert expansion.die(change), change
    told = expansion.state()
    return told["next"][change % len(told["next"])] if told["state"] == "unfinished" else None


def killed_twice(expansion: Expansion, firsts: Iterable[int], step: int) -> int:
    """Killed, then killed in what ends the run, at every `step`th change of that."""
    deaths = 0
    for first in firsts:
        if (verb := begun(expansion, first)) is None:
            continue
        for second in range(first % step, 1000, step):
            assert begun(expansion, first) == verb
            if expansion.host.command(verb, expansion.image, dies_before=second) is not None:
                break
            deaths += 1
            told = expansion.state()
            grown = verb == "resume"
            if told["state"] == "unfinished" and verb not in told["next"]:
                assert told["next"] == ["resume"], (first, second)
            ends = told["state"] in ("done", "undone")
            assert not ends or told["state"] == ("done" if grown else "undone")
            again = "resume" if ends or verb not in told["next"] else verb
            expansion.host.answer(again, expansion.image)
            try:
                expansion.judge(grown=grown)
            except Exception as error:
                raise AssertionError(f"killed before {first}, then {second}: {error}") from error
    return deaths


def test_a_resume_or_rollback_that_is_killed_is_done_again(tmp_path: Path) -> None:
    expansion = Expansion(tmp_path, "overlay")
    half = expansion.changes // 2
    assert killed_twice(expansion, (half, half + 1), expansion.changes // 4) > 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_resume_or_rollback_that_is_killed_at_any_change(tmp_path: Path, kind: str) -> None:
    expansion = Expansion(tmp_path, kind)
    firsts = range(expansion.changes // 4, expansion.changes - 10, expansion.changes // 6)
    assert killed_twice(expansion, firsts, 5) > 20
