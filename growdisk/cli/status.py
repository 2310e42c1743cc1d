"""growdisk status: how the run recorded beside an image stands, and what can be done now."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from growdisk import api
from growdisk.cli.arguments import add_image
from growdisk.cli.output import CommandOutput
from growdisk.cli.targets import image_of
from growdisk.errors import shell_word
from growdisk.fast_dataclass import asdict

if TYPE_CHECKING:
    from growdisk.api.result import StatusReport

_WHERE_KNOWN = ("failure", "pid", "step", "missing")

NAME = "status"
HELP = "say how an unfinished, kept or finished run stands"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    image = image_of(arguments)
    report = api.status(image)
    output.document(document(report))
    output.lines(_lines(report, shell_word(image)))
    return 0


def document(report: StatusReport) -> dict[str, object]:
    """The contract's keys; what is only known of some runs is left out of the others."""
    return {key: value for key, value in asdict(report).items() if key not in _WHERE_KNOWN or value}


def _lines(report: StatusReport, image: str) -> Iterator[str]:
    if report.state == "none":
        yield f"no run of growdisk is recorded for {image}"
        return
    yield f"run {report.run or 'without a name'}: {report.state}{_progress(report)}"
    column = max([19, *(len(step.name) for step in report.steps)])
    for step in report.steps:
        yield f"  {step.name:<{column}} {step.state:<10} {step.detail}"
    if report.failure:
        yield f"what went wrong: {report.failure}"
    if report.missing:
        yield report.missing
    for verb in report.next:
        yield f"next: growdisk {verb} {image}"


def _progress(report: StatusReport) -> str:
    if not report.step:
        return ""
    names = [step.name for step in report.steps]
    # Only a run in progress has `step`, and then a pid.
    return f" (pid {report.pid}, step {names.index(report.step) + 1}/{len(names)} {report.step})"
