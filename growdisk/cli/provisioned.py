"""How provisioned images are told: a line each to people, the whole to scripts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from threading import Lock

from growdisk.api.provisioning.result import Provisioned, ProvisionReport
from growdisk.cli.output import Output, error_document
from growdisk.units import format_size


class Lines:
    """The watcher of a call: a note when an output is done. Outputs may end at the same time."""

    def __init__(self, output: Output) -> None:
        self._output, self._lock = output, Lock()

    def output_started(self, path: Path) -> None: ...

    def output_ended(self, output: Provisioned) -> None:
        sign = "!" if output.error else "+"
        with self._lock:
            self._output.note(f" {sign} {output.path}  {output.result}  {output.seconds:.1f} s")


def tell(report: ProvisionReport, output: Output) -> int:
    """Show how it ended; returns the exit code."""
    output.document(document(report))
    for failed in report.failed:
        if failed.error is not None:
            output.error(failed.error)
    output.lines(line for made in report.outputs if made.error is None for line in _lines(made))
    return report.exit_code


def document(report: ProvisionReport) -> dict[str, object]:
    """The outputs; where there is but one, its result and its error stand on top as those of every command."""
    failed, count = report.failed, len(report.outputs)
    word = "failed" if len(failed) == count else "partly" if failed else report.outputs[0].result
    content: dict[str, object] = {
        "result": word, "base": str(report.base), "outputs": [_output(made) for made in report.outputs]
    }  # fmt: skip
    worst = next((made.error for made in failed if made.error and made.error.exit_code == report.exit_code), None)
    if worst is not None:
        content["error"] = error_document(worst)
    return content


def _output(made: Provisioned) -> dict[str, object]:
    layout = made.layout
    content: dict[str, object] = {
        "path": str(made.path), "result": made.result, "seconds": round(made.seconds, 3), "backend": made.backend,
        "format": layout.image.format if layout else None,
        "virtual_size": layout.image.virtual_size if layout else None, "actual_size": made.actual_size,
        "steps": [asdict(step) for step in made.steps], "given_up": list(made.given_up),
        "customized": list(made.customized), "seed": str(made.seed) if made.seed else None,
        "notes": list(made.notes), "layout": asdict(layout) if layout else None,
    }  # fmt: skip
    if made.error is not None:
        content["error"] = error_document(made.error)
    return content


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
    for note in made.notes:
        yield f"  note: {note}"
