"""What is done about a recorded run: growdisk status, resume, rollback, commit."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from growdisk import api
from growdisk.cli.arguments import add_image, add_keys, add_sector_size
from growdisk.cli.common_options import add_flag
from growdisk.cli.declaring import declare
from growdisk.cli.keys import keys_of
from growdisk.cli.output import CommandOutput
from growdisk.cli.targets import image_of
from growdisk.errors import options_conflict, shell_word
from growdisk.fast_dataclass import asdict
from growdisk.planner.option_table import DOWN_TO

if TYPE_CHECKING:
    from growdisk.api.result import StatusReport
    from growdisk.cli.progress import StepLines
    from growdisk.workflow.stopping import StopRequest

_WHERE_KNOWN = ("failure", "pid", "step", "missing")
_AS_BEGUN = "for --force; otherwise as the run was begun"


def status_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)


def resume_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)
    declare(parser, "overlays_may_break")
    declare(parser, "not_in_use")
    add_keys(parser)


def rollback_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)
    declare(parser, DOWN_TO, metavar="STEP")
    add_flag(
        parser,
        "--force",
        "a run whose folder is lost: go back to before it by the snapshots that the image carries",
    )
    declare(parser, "overlays_may_break")
    declare(parser, "not_in_use")
    add_sector_size(parser, more=_AS_BEGUN)
    add_keys(parser)


def commit_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)
    add_flag(
        parser,
        "--force",
        "keep the disk as it is, although its run is unfinished, or taken back in part; or "
        "although the run's folder is lost (then the image's snapshots of it are removed)",
    )
    declare(parser, "not_in_use")
    add_sector_size(parser, more=_AS_BEGUN)
    add_keys(parser)


def run_status(arguments: argparse.Namespace, output: CommandOutput) -> int:
    image = image_of(arguments)
    report = api.status(image)
    output.document(status_document(report))
    output.lines(_lines(report, shell_word(image)))
    return 0


# What shows a run is loaded by those who have one: `status` is asked often, by monitors.


def run_resume(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.cli.report import print_result

    image, keys = image_of(arguments), keys_of(arguments)
    with _followed(output) as (steps, stop):
        result = api.resume(image, steps, stop, keys, **_allowed(arguments))
    return print_result(result, output, image=image)


# Rollback and commit are short and are not stopped half-way: a signal waits until they are done.


def run_rollback(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.cli.report import print_result

    # Without its folder a run's steps are not known: only the snapshot from before it is.
    if arguments.force and arguments.to:
        problem = "--force goes all the way back"
        raise options_conflict(problem, ("--force", "--to"), "leave --to out")
    image, keys, allowed = image_of(arguments), keys_of(arguments), _allowed(arguments)
    with _followed(output) as (steps, stop):
        if arguments.force:
            sector_size = arguments.sector_size
            result = api.rollback_carried(image, keys, sector_size=sector_size, **allowed)
        else:
            result = api.rollback(image, arguments.to, steps, stop, keys, **allowed)
    return print_result(result, output, image=image)


def run_commit(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.cli.report import print_commit

    image, keys, force = image_of(arguments), keys_of(arguments), arguments.force
    unused, sectors = arguments.not_in_use, arguments.sector_size
    with _followed(output) as (steps, _):
        if force and not api.status(image).is_recorded:
            result = api.commit_carried(image, keys, not_in_use=unused, sector_size=sectors)
        else:
            result = api.commit(image, steps, keys, not_in_use=unused, as_it_is=force)
    return print_commit(result, output, image=image)


def _allowed(arguments: argparse.Namespace) -> dict[str, bool]:
    """The user's consents, as keyword arguments of the API."""
    return {name: getattr(arguments, name) for name in ("overlays_may_break", "not_in_use")}


@contextmanager
def _followed(output: CommandOutput) -> Iterator[tuple[StepLines, StopRequest]]:
    """The observer of a run, and what says that a signal came."""
    from growdisk.workflow.stopping import SignalsStop, StopRequest

    with SignalsStop(StopRequest()) as stop, output.steps() as steps:
        yield steps, stop


def status_document(report: StatusReport) -> dict[str, object]:
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
