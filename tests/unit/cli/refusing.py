"""That a refusal has all its words, and leaves no trace."""

from __future__ import annotations

from pathlib import Path

from tests.unit.cli.command import (
    Answer,
    fingerprint,
    in_process,
    run_folder,
)


def refused(image: Path, *words: str, why: str) -> Answer:
    """expand must refuse with `why`, plan as well; neither leaves a trace."""
    before = fingerprint(image)
    for verb in ("expand", "plan"):
        answer = in_process(verb, image, *(words or ("+64M",)))
        assert answer.code == 3, answer
        what, reason, cure = answer.err.splitlines()
        assert what.startswith("growdisk: ")
        assert reason.startswith("  why:  ")
        assert why in reason
        assert len(cure.removeprefix("  do:   ")) > 5
        assert answer.out == ""
        assert fingerprint(image) == before
        assert not run_folder(image).exists()
    return answer
