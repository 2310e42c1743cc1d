"""Everything that growdisk says: text for people, one JSON document for scripts, notes and errors.

With --json stdout carries exactly one document; all else goes to stderr. This is the only file that prints.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping

from growdisk.cli.drawing import UNUSED, USED
from growdisk.cli.progress import StepLines
from growdisk.errors import GrowdiskError

_PLAIN_WIDTH, _MAX_WIDTH = 80, 120


class Output:
    """Where a command's words go. `color` is "auto", "always" or "never"."""

    def __init__(self, *, json_mode: bool = False, quiet: bool = False, color: str = "auto") -> None:
        self.json_mode, self.quiet, self._color = json_mode, quiet, color

    @property
    def width(self) -> int:
        """Columns to draw in: the terminal's, 80 in a pipe."""
        if not sys.stdout.isatty():
            return _PLAIN_WIDTH
        return min(shutil.get_terminal_size((_PLAIN_WIDTH, 24)).columns, _MAX_WIDTH)

    def lines(self, lines: Iterable[str]) -> None:
        """The command's result, for people: nothing with --json."""
        if not self.json_mode:
            for line in lines:
                print(self._painted(line))

    def document(self, value: Mapping[str, object]) -> None:
        """The command's result, for scripts: nothing without --json."""
        if self.json_mode:
            print(json.dumps(value, indent=2, ensure_ascii=False))

    def note(self, text: str) -> None:
        """Something worth knowing that is not the result."""
        if not self.quiet:
            print(text, file=sys.stderr)

    def error(self, error: GrowdiskError) -> None:
        """What, why, what to do, on stderr."""
        print(f"growdisk: {error.what}", file=sys.stderr)
        for label, text in (("why: ", error.why), ("do:  ", error.what_to_do)):
            if text:
                print(f"  {label} {text}", file=sys.stderr)

    def steps(self) -> StepLines:
        """The observer of a run."""
        return StepLines(self.note, moving=sys.stderr.isatty() and not self.quiet and os.environ.get("TERM") != "dumb")

    def _painted(self, line: str) -> str:
        if self._color == "never" or (
            self._color == "auto" and (not sys.stdout.isatty() or "NO_COLOR" in os.environ)
        ):  # fmt: skip
            return line
        return line.replace(USED, f"\x1b[36m{USED}\x1b[0m").replace(UNUSED, f"\x1b[2m{UNUSED}\x1b[0m")


def error_document(error: GrowdiskError) -> dict[str, object]:
    """An error as --json shows it."""
    return {"what": error.what, "why": error.why, "do": error.what_to_do, "code": error.exit_code}
