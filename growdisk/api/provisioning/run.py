"""Provisioning: everything that can be refused is looked at first, then the outputs are made, several at once if asked.

One output that fails does not stop the others, and leaves nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from growdisk.api.disks import inspect
from growdisk.api.planning import plan
from growdisk.api.provisioning.failures import ProvisioningFailed
from growdisk.api.provisioning.making import Making
from growdisk.api.provisioning.places import look_at_base, refuse_contradictions, refuse_outputs, refuse_place
from growdisk.api.provisioning.recipe import Output, Recipe
from growdisk.api.provisioning.result import Provisioned, ProvisionReport
from growdisk.api.result import Result
from growdisk.api.runs import expand
from growdisk.errors import GrowdiskError, UsageError
from growdisk.planner.goal import Goal, RunOptions
from growdisk.planner.layout import Layout, layout_of
from growdisk.qcow2.probe import ImageFormat
from growdisk.workflow.stopping import StopRequest


class Watcher(Protocol):
    """Who is told how it goes on, from any thread."""

    def output_started(self, path: Path) -> None: ...

    def output_ended(self, output: Provisioned) -> None: ...


class Unwatched:
    def output_started(self, path: Path) -> None: ...

    def output_ended(self, output: Provisioned) -> None: ...


def provision(
    base: Path, outputs: Sequence[Output], recipe: Recipe, *, force: bool = False, jobs: int = 1,
    dry_run: bool = False, watcher: Watcher | None = None, stop: StopRequest | None = None,
) -> ProvisionReport:  # fmt: skip
    """Make `outputs` of `base`, `jobs` at once. Raises what concerns them all; what concerns one is in its report.

    `force` puts an output in the place of what is there. `dry_run`: look and plan, write nothing.
    """
    refuse_contradictions(recipe)
    refuse_outputs(outputs)
    base_format, layers = look_at_base(base, recipe.base_format)
    job = _Job(base, base_format, layers, recipe, force, watcher or Unwatched(), stop or StopRequest())
    if jobs < 1:
        raise UsageError("-j takes a number of outputs that are made at once", hint="leave it out for one")
    deed = job.planned if dry_run else job.made
    with ThreadPoolExecutor(min(jobs, len(outputs)), "provision") as pool:
        return ProvisionReport(base, tuple(pool.map(deed, outputs)))


class _Job:
    """What all outputs of one call have in common."""

    def __init__(
        self, base: Path, base_format: ImageFormat, layers: Sequence[Path], recipe: Recipe, force: bool,
        watcher: Watcher, stop: StopRequest,
    ) -> None:  # fmt: skip
        self._base, self._base_format, self._layers, self._recipe = base, base_format, layers, recipe
        self._force, self._watcher, self._stop = force, watcher, stop

    def made(self, output: Output) -> Provisioned:
        return self._told(output, self._make)

    def planned(self, output: Output) -> Provisioned:
        return self._told(output, self._plan)

    def _told(self, output: Output, deed: Callable[[Output], Provisioned]) -> Provisioned:
        """The report of one output, whatever happens to it."""
        self._watcher.output_started(output.path)
        started = time.monotonic()
        try:
            self._stop.check()
            refuse_place(output.path, self._layers, force=self._force)
            report = deed(output)
        except GrowdiskError as error:
            report = Provisioned(output.path, "failed", error=error)
        except OSError as error:
            reason = error.strerror or str(error)
            failure = ProvisioningFailed(output.path, reason=reason, hint="look at the host (df -h), and try again")
            report = Provisioned(output.path, "failed", error=failure)
        report = replace(report, seconds=time.monotonic() - started)
        self._watcher.output_ended(report)
        return report

    def _make(self, output: Output) -> Provisioned:
        making = Making(self._base, self._base_format, output.path, self._recipe)
        with making.begun(force=self._force) as (hidden, hidden_format):
            grown = self._grow(output, hidden, hidden_format)
        layout = layout_of(inspect(output.path, making.format))
        return Provisioned(
            output.path, "created", layout, layout.image.actual_size,
            grown.backend if grown else None, grown.steps if grown else (), grown.given_up if grown else (),
        )  # fmt: skip

    def _plan(self, output: Output) -> Provisioned:
        goal = self._goal(output)
        if goal.size is None:
            layout = layout_of(inspect(self._base, self._base_format))
            return Provisioned(output.path, "planned", _named(layout, output.path))
        result = plan(self._base, goal, self._options, self._base_format)
        return Provisioned(
            output.path, "planned", _named(result.after, output.path), 0, result.backend, result.steps, result.given_up
        )

    def _grow(self, output: Output, hidden: Path, hidden_format: ImageFormat) -> Result | None:
        """All layers of the hidden image grown. None where no size is asked for. It needs no way back: it is a copy."""
        goal = self._goal(output)
        if goal.size is None:
            return None
        result = expand(hidden, goal, self._options, hidden_format, stop=self._stop)
        if result.error is not None:
            raise _failure(output.path, result.error) from result.error
        return result

    def _goal(self, output: Output) -> Goal:
        return Goal(output.size or self._recipe.size, self._recipe.partition, self._recipe.swap)

    @property
    def _options(self) -> RunOptions:
        return RunOptions(self._recipe.backend, "none")


def _failure(path: Path, error: GrowdiskError) -> ProvisioningFailed:
    """What stopped growing, in words that fit an image that is not there any more."""
    cause = error.__cause__ if isinstance(error.__cause__, GrowdiskError) else error
    hint = cause.what_to_do if cause is not error else "see what it says with -v -x; the base is as it was"
    return ProvisioningFailed(path, reason=str(error.why or error.what), hint=hint)


def _named(layout: Layout, path: Path) -> Layout:
    return replace(layout, image=replace(layout.image, path=str(path)))
