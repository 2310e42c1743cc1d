"""How a Result is told: to people as drawings and lines, to scripts as the contract's JSON."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import asdict

from growdisk.api.result import Result
from growdisk.cli.drawing import draw
from growdisk.cli.output import Output, error_document
from growdisk.units import format_size


def tell(result: Result, output: Output, *, image: str) -> int:
    """Show how it ended; returns the exit code."""
    output.document(document(result))
    if result.error:
        output.error(result.error)
    output.lines(_lines(result, output.width, image))
    return result.exit_code


def document(result: Result) -> dict[str, object]:
    content: dict[str, object] = {
        "result": result.result, "run": result.run, "backend": result.backend, "before": asdict(result.before),
        "after": asdict(result.after), "steps": [asdict(step) for step in result.steps],
        "given_up": list(result.given_up),
    }  # fmt: skip
    if result.reason:
        content["reason"] = result.reason
    if result.error:
        content["error"] = error_document(result.error)
    return content


def _lines(result: Result, width: int, image: str) -> Iterator[str]:
    match result.result:
        case "nochange":
            yield f"nothing to do: {result.reason}"
        case "planned":
            yield from before_and_after(result, width)
            yield from _planned(result)
        case "changed":
            yield from before_and_after(result, width)
            yield from _given_up(result, "given up")
            yield f"done in {_seconds(result):.1f} s"
        case "restored":
            yield f"{image} is as it was before the run"
        case "stuck":
            yield f"{image} needs you: growdisk status {shlex.quote(image)} says how it stands"


def before_and_after(result: Result, width: int) -> Iterator[str]:
    """Both disks drawn to one scale."""
    scale = max(result.before.image.virtual_size, result.after.image.virtual_size)
    yield "before  " + format_size(result.before.image.virtual_size)
    yield from draw(result.before, width, scale)
    yield "after  " + format_size(result.after.image.virtual_size)
    yield from draw(result.after, width, scale)


def _planned(result: Result) -> Iterator[str]:
    yield "steps, each behind a snapshot:"
    for number, step in enumerate(result.steps, start=1):
        yield f"  {number}. {step.name:<19} {step.detail}"
    yield from _given_up(result, "would be given up")


def _given_up(result: Result, heading: str) -> Iterator[str]:
    for item in result.given_up:
        yield f"{heading}: {item}"


def _seconds(result: Result) -> float:
    return sum(step.seconds for step in result.steps)
