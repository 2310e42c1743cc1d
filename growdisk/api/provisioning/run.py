"""Provisioning: everything that can be refused is looked at first, then the outputs are made, several at once if asked.

One output that fails does not stop the others, and leaves nothing.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Protocol

from growdisk.api.provisioning.encrypted import refuse_locked
from growdisk.api.provisioning.epoch import last_time_in
from growdisk.api.provisioning.failures import ProvisioningFailed
from growdisk.api.provisioning.one import Batch, OneOutput
from growdisk.api.provisioning.places import look_at_base, refuse_contradictions, refuse_outputs
from growdisk.api.provisioning.recipe import Output, Recipe
from growdisk.api.provisioning.result import Provisioned, ProvisionReport
from growdisk.errors import GrowdiskError, NotCreated, UsageError
from growdisk.fast_dataclass import replace
from growdisk.qcow2.named_files import trusting
from growdisk.workflow.stopping import StopRequest

_NO_FOLDER = frozenset((errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EROFS))


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
    if jobs < 1:
        raise UsageError("-j takes a number of outputs that are made at once", hint="leave it out for one")
    refuse_contradictions(recipe)
    refuse_outputs(outputs)
    base_format, layers = look_at_base(base, recipe.base_format)
    refuse_locked(base, base_format, recipe)
    stop, watching = stop or StopRequest(), watcher or Unwatched()
    epoch = None
    if recipe.reproducible:
        epoch = last_time_in(base, base_format, recipe.keys) if recipe.epoch is None else recipe.epoch
    batch = Batch(base, base_format, layers, recipe, force, stop, epoch)

    def action(number: int, output: Output) -> Provisioned:
        watching.output_started(output.path)
        report = _reported(output.path, lambda: _one(batch, number, output, dry_run=dry_run))
        watching.output_ended(report)
        return report

    with trusting(base), ThreadPoolExecutor(min(jobs, len(outputs)), "provision") as pool:
        actions = [pool.submit(copy_context().run, action, number, output) for number, output in enumerate(outputs, 1)]
        return ProvisionReport(base, tuple(made.result() for made in actions))


def _one(batch: Batch, number: int, output: Output, *, dry_run: bool) -> Provisioned:
    batch.stop.check()
    own = StopRequest()  # whoever works on an image forgets all callbacks when it is done: not those of the others
    batch.stop.callbacks.append(lambda: own.request(batch.stop.signal))
    one = OneOutput(replace(batch, stop=own), number, output)
    one.check()
    return one.planned() if dry_run else one.made()


def _reported(path: Path, action: Callable[[], Provisioned]) -> Provisioned:
    """The report of one output, whatever happens to it."""
    started = time.monotonic()
    try:
        report = action()
    except GrowdiskError as error:
        report = Provisioned(path, "failed", error=error)
    except OSError as error:
        report = Provisioned(path, "failed", error=_failure(path, error))
    return replace(report, seconds=time.monotonic() - started)


def _failure(path: Path, error: OSError) -> GrowdiskError:
    """A folder that cannot be written to is a refusal: nothing had begun."""
    reason = error.strerror or str(error)
    if error.errno in _NO_FOLDER:
        return NotCreated(path, reason, "check its folder and the permissions there")
    return ProvisioningFailed(path, reason, "look at the host (df -h), and try again")
