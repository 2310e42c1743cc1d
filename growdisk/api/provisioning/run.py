"""Provisioning: everything that can be refused is checked first, then outputs are made.

Several at once if asked. One output that fails does not stop the others, and leaves nothing.
"""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Protocol

from growdisk.api.images.opening import open_guest_content
from growdisk.api.provisioning.build_output import Batch, OutputBuild
from growdisk.api.provisioning.checks import (
    Base,
    look_at_base,
    refuse_contradictions,
    refuse_outputs,
)
from growdisk.api.provisioning.recipe import Output, Recipe
from growdisk.api.provisioning.result import Provisioned, ProvisionReport, provisioning_failed
from growdisk.block.device import BlockDevice
from growdisk.errors import GrowdiskError, not_created
from growdisk.fast_dataclass import replace
from growdisk.filesystems.ext import SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE
from growdisk.filesystems.identify import identify
from growdisk.guest_systems.file_systems import devices_of
from growdisk.qcow2.named_files import trusting
from growdisk.workflow.stopping import StopRequest

_NO_FOLDER = frozenset((errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EROFS))


class Watcher(Protocol):
    """What receives progress, from any thread."""

    def output_started(self, path: Path) -> None: ...

    def output_ended(self, output: Provisioned) -> None: ...


def provision(
    base: Path,
    outputs: Sequence[Output],
    recipe: Recipe,
    *,
    force: bool = False,
    jobs: int = 1,
    dry_run: bool = False,
    watcher: Watcher | None = None,
    stop: StopRequest | None = None,
) -> ProvisionReport:
    """Make `outputs` of `base`, `jobs` at once.

    Raises what concerns them all; what concerns one is in its report. `force` puts an output in the
    place of what is there. `dry_run`: look and plan, write nothing.
    """
    # From what costs nothing to what opens the base. Nothing is made before all of it.
    refuse_contradictions(recipe)
    refuse_outputs(outputs, recipe)
    found = look_at_base(base, recipe, outputs)
    epoch = recipe.epoch if recipe.reproducible else None
    if recipe.reproducible and epoch is None:
        epoch = last_time_in(found, recipe.keys)
    batch = Batch(found, recipe, force, stop or StopRequest(), epoch)

    def action(number: int, output: Output) -> Provisioned:
        if watcher is not None:
            watcher.output_started(output.path)
        report = _reported(batch, number, output, dry_run=dry_run)
        if watcher is not None:
            watcher.output_ended(report)
        return report

    # The user has named the base, so an overlay in another folder may name it as well. This is a
    # context variable: a thread of the pool has it only by a copy of this context.
    with trusting(base), ThreadPoolExecutor(min(jobs, len(outputs)), "provision") as pool:
        actions = [
            pool.submit(copy_context().run, action, number, output)
            for number, output in enumerate(outputs, 1)
        ]
        return ProvisionReport(base, tuple(made.result() for made in actions))


def _reported(batch: Batch, number: int, output: Output, *, dry_run: bool) -> Provisioned:
    """The report of one output, also of one that failed."""
    started = time.monotonic()
    try:
        batch.stop.check()
        # a worker on an image forgets all callbacks when it is done: not those of the others
        own = StopRequest()
        with batch.stop.calling(lambda: own.request(batch.stop.signal)):
            build = OutputBuild(replace(batch, stop=own), number, output)
            build.check()
            report = build.planned() if dry_run else build.made()
    except GrowdiskError as error:
        report = Provisioned(output.path, "failed", error=error)
    except OSError as error:
        report = Provisioned(output.path, "failed", error=_failure(output.path, error))
    return replace(report, seconds=time.monotonic() - started)


def _failure(path: Path, error: OSError) -> GrowdiskError:
    """A folder that cannot be written to is a refusal: nothing had begun."""
    reason = error.strerror or str(error)
    if error.errno in _NO_FOLDER:
        return not_created(path, reason, "check its folder and the permissions there")
    return provisioning_failed(path, reason, "look at the host (df -h), and try again")


# A reproducible output stands still at the latest time that the base's file systems tell of:
# nothing is newer than its file system, and e2fsck finds no times in its future.

_TIMES = (0x2C, 0x30, 0x40, 0x108)  # in an ext superblock: mounted, written, checked, made
_WITHOUT = 1577836800  # 2020, where no file system tells


def last_time_in(base: Base, keys: tuple[bytes, ...]) -> int:
    """Seconds since 1970."""
    with open_guest_content(base.path, base.format, key=keys) as device:
        parts = devices_of(device, base.path).values()
        found = [moment for part in parts for moment in _times(part)]
    # Also if all times are 0.
    return max(found, default=_WITHOUT) or _WITHOUT


def _times(device: BlockDevice) -> list[int]:
    content = identify(device)
    if content is None or not content.kind.startswith("ext"):
        return []
    superblock = device.read(SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE)
    return [struct.unpack_from("<I", superblock, at)[0] for at in _TIMES]
