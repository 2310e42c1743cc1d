"""How provisioned images are reported: a line each to people, everything to scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from growdisk.api.provisioning.result import Provisioned, ProvisionReport, provision_document
from growdisk.cli.output import CommandOutput, NoSpinner
from growdisk.cli.progress import Spinner
from growdisk.error_document import error_document
from growdisk.units import format_size


class Lines:
    """The watcher of a call: a note when an output is done. Outputs may end at the same time."""

    def __init__(self, output: CommandOutput, working: Spinner | NoSpinner) -> None:
        self._output, self._working, self._lock = output, working, Lock()

    def output_started(self, path: Path) -> None:
        self._working.begins(f"making {path.name}")

    def output_ended(self, output: Provisioned) -> None:
        self._working.ends(f"making {output.path.name}")
        sign = "!" if output.error else "+"
        with self._lock:
            line = f" {sign} {output.path}  {output.result}  {output.seconds:.1f} s"
            # Nothing moves (a pipe, or the first second): then it is an ordinary note.
            if not self._working.say(line):
                self._output.note(line)


def tell(report: ProvisionReport, output: CommandOutput) -> int:
    """Show how it ended; returns the exit code."""
    output.document(provision_document(report))
    for failed in report.failed:
        # The message says already which output it is about.
        if failed.error is not None and str(failed.path) in failed.error.what:
            output.error(failed.error)
        elif failed.error is not None:
            output.failure(str(failed.path), error_document(failed.error))
    output.lines(line for made in report.outputs if made.error is None for line in _lines(made))
    return report.exit_code


def _lines(made: Provisioned) -> Iterator[str]:
    assert made.layout is not None
    image = made.layout.image
    host = f", {format_size(made.actual_size)} on the host" if made.result == "created" else ""
    yield f"{made.path}: {image.format}, {format_size(image.virtual_size)}{host}"
    for line in made.customized:
        yield f"  {line}"
    for item in made.given_up:
        yield f"  {'would be ' if made.result == 'planned' else ''}given up: {item}"
    if made.seed is not None:
        yield f"  cloud-init's seed: {made.seed}"
    if made.growpart not in ("", "nothing"):
        yield f"  left for cloud-init's growpart: {made.growpart}"
    for note in made.notes:
        yield f"  note: {note}"
