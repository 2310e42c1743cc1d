"""One output, from the hidden image to its name: made, grown, changed, checked, published.

With backend auto, host tools try first; what they turn out not to be able to do is done again, from
the start, in the appliance: the hidden image is thrown away, so nothing half-done can stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from growdisk.api.disks import inspect
from growdisk.api.images.opening import open_guest_content
from growdisk.api.provisioning.checks import Base, refuse_place
from growdisk.api.provisioning.guest import (
    customize_guest,
    refuse_without_guest,
    why_not_direct,
)
from growdisk.api.provisioning.recipe import Output, Recipe
from growdisk.api.provisioning.result import (
    Provisioned,
    ProvisionOutcome,
    not_provisioned,
    provisioning_failed,
)
from growdisk.api.provisioning.seeding import seed_files, seed_iso, seed_place
from growdisk.api.provisioning.templates import Values, changes_for, values_for
from growdisk.api.provisioning.work_image import WorkImage, hidden_file, put_in_place
from growdisk.api.result import Result
from growdisk.api.runs import expand, plan
from growdisk.errors import GrowdiskError, OperationFailed
from growdisk.fast_dataclass import dataclass, replace
from growdisk.host import clock
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Backend, Goal, RunOptions
from growdisk.planner.hint_words import options_in
from growdisk.planner.layout import Layout, layout_of
from growdisk.planner.planner import propose
from growdisk.planner.proposal import GoalReached
from growdisk.qcow2.probe import ImageFormat
from growdisk.steps.worker import BackendKind
from growdisk.units import MiB, format_size
from growdisk.workflow.stopping import StopRequest


@dataclass(frozen=True)
class Batch:
    """What all outputs of one call have in common.

    `epoch`: the time of a reproducible output.
    """

    base: Base
    recipe: Recipe
    force: bool
    stop: StopRequest
    epoch: int | None


class OutputBuild:
    """`number` counts from 1.

    All that can be wrong with it is found by `check`, before anything is made.
    """

    def __init__(self, batch: Batch, number: int, output: Output) -> None:
        self._batch, self.path = batch, output.path
        recipe = batch.recipe
        self._values: Values = values_for(batch.base.path, number, output, recipe)
        self._seed_path = seed_place(output.path) if recipe.seed else None
        size = output.size or recipe.size
        self._goal = Goal(size, recipe.partition, recipe.swap) if size is not None else None

    def check(self) -> None:
        """Raise what stands against it. What it needs is made ready; passwords are hashed here."""
        for path in (self.path, self._seed_path):
            if path is not None:
                refuse_place(path, self._batch.base, force=self._batch.force)
        # Once for all tries: with another salt, a second one would write another hash.
        self._changes = changes_for(self._batch.recipe, self._values)
        self._seed, recipe, base = b"", self._batch.recipe, self._batch.base
        if self._changes.any:
            with open_guest_content(base.path, base.format, key=recipe.keys) as device:
                refuse_without_guest(device, base.path, recipe.keys)
        if recipe.seed is not None:
            with clock.fixed_at(self._batch.epoch):
                same = recipe.reproducible
                files = seed_files(recipe.seed, self._values, reproducible=same)
                self._seed = seed_iso(files, clock.now())

    def planned(self) -> Provisioned:
        recipe, grown = self._batch.recipe, None
        image = WorkImage(self._batch.base, self.path, recipe, self._batch.stop)
        with image.tried() as hidden, _told_of(self._batch.base.path, instead_of=hidden):
            if self._goal is None:
                layout = layout_of(self._looked_at(hidden, "qcow2"))
            else:
                grown = plan(hidden, self._goal, self._options(recipe.backend), "qcow2")
                layout = grown.after
        backing = layout.image.backing if recipe.overlay else ()
        shown = replace(layout.image, path=str(self.path), format=image.format, backing=backing)
        layout = replace(layout, image=shown)
        return self._report("planned", layout, grown, tuple(self._changes.described()))

    def made(self) -> Provisioned:
        recipe = self._batch.recipe
        with clock.fixed_at(self._batch.epoch):
            # Host tools alone: an appliance has a clock of its own.
            if recipe.reproducible:
                return self._made("direct")
            try:
                return self._made(recipe.backend)
            except OperationFailed as error:
                # If a stop has ended the tool, another backend is not tried.
                self._batch.stop.check()
                if recipe.backend != "auto":
                    raise
                note = (
                    "done in libguestfs's appliance, for host tools could not: "
                    f"{error.why or error.what}"
                )
                return replace(self._made("guestfs"), notes=(note,))

    def _made(self, backend: Backend) -> Provisioned:
        batch = self._batch
        image = WorkImage(batch.base, self.path, batch.recipe, batch.stop)
        with ExitStack() as undo:
            seed = undo.enter_context(hidden_file(self._seed_path)) if self._seed_path else None
            with (
                image.begun(force=batch.force) as (hidden, hidden_format),
                _told_of(batch.base.path, instead_of=hidden),
            ):
                grown = self._grow(hidden, hidden_format, backend)
                customized = self._customize(hidden, hidden_format, backend)
                growpart = left_for_growpart(self._looked_at(hidden, hidden_format))
                if seed is not None:
                    seed.write_bytes(self._seed)
            # The image has its name now. The seed, which is written already, gets its own.
            if seed is not None and self._seed_path is not None:
                try:
                    put_in_place(seed, self._seed_path, force=batch.force)
                except BaseException:
                    # An image without its seed is half an output.
                    self.path.unlink(missing_ok=True)
                    raise
        layout = layout_of(self._looked_at(self.path, image.format))
        report = self._report("created", layout, grown, customized)
        return replace(report, actual_size=layout.image.actual_size, growpart=growpart)

    def _report(
        self,
        outcome: ProvisionOutcome,
        layout: Layout,
        grown: Result | None,
        customized: tuple[str, ...],
    ) -> Provisioned:
        report = Provisioned(
            self.path, outcome, layout, customized=customized, seed=self._seed_path
        )
        if grown is None:
            return report
        return replace(report, backend=grown.backend, steps=grown.steps, given_up=grown.given_up)

    def _grow(self, hidden: Path, hidden_format: ImageFormat, backend: Backend) -> Result | None:
        """All layers of the hidden image grown, without snapshots: it is removed if that fails."""
        if self._goal is None:
            return None
        result = expand(
            hidden, self._goal, self._options(backend), hidden_format, stop=self._batch.stop
        )
        if result.error is not None:
            raise _failure(self.path, result.error) from result.error
        return result

    def _customize(
        self, hidden: Path, hidden_format: ImageFormat, backend: Backend
    ) -> tuple[str, ...]:
        if not self._changes.any:
            return ()
        kind: BackendKind = "direct" if backend == "auto" else backend
        if kind == "direct" and (
            reason := why_not_direct(self._looked_at(hidden, hidden_format), self._changes)
        ):
            if backend == "direct":
                hint = "leave --reproducible and --backend out: a kernel does it then"
                raise not_provisioned(self.path, f"host tools alone cannot do it: {reason}", hint)
            from growdisk.backends.available import why_no_uml

            # uml starts sooner, if it is there.
            kind = "guestfs" if why_no_uml() else "uml"
        return customize_guest(
            hidden,
            hidden_format,
            self._changes,
            kind=kind,
            stop=self._batch.stop,
            keys=self._batch.recipe.keys,
        )

    def _looked_at(self, image: Path, image_format: ImageFormat) -> Facts:
        return inspect(image, image_format, keys=self._batch.recipe.keys)

    def _options(self, backend: Backend) -> RunOptions:
        recipe = self._batch.recipe
        return RunOptions("direct" if recipe.reproducible else backend, "none", keys=recipe.keys)


_OPTIONS_OF_EXPAND = ("partition", "swap", "key_file", "backend", "format")  # provision's, too
_EXPAND_A_COPY = (
    "provision does not have that; growdisk expand has, for a copy of the base (growdisk image "
    "convert), which then is the new base"
)


@contextmanager
def _told_of(base: Path, *, instead_of: Path) -> Iterator[None]:
    """Errors name the base: nobody knows of the hidden file, and it is gone when they are read.

    What they advise may be options of expand alone.
    """
    try:
        yield
    except GrowdiskError as error:
        named = options_in(error.what_to_do).items()
        if flags := [flag for name, flag in named if name not in _OPTIONS_OF_EXPAND]:
            error.advise_also(f"; {' and '.join(flags)}: {_EXPAND_A_COPY}")
        for name, value in vars(error).items():
            if isinstance(value, str):
                setattr(error, name, value.replace(str(instead_of), str(base)))
            elif isinstance(value, Path) and value.name == instead_of.name:
                setattr(error, name, base)
        raise


def _failure(path: Path, error: GrowdiskError) -> OperationFailed:
    """What stopped growing, in words that fit an image that is gone."""
    cause = error.__cause__ if isinstance(error.__cause__, GrowdiskError) else error
    hint = "see what it says with -v -x; the base is as it was"
    if cause is not error:
        hint = cause.what_to_do
    return provisioning_failed(path, reason=str(error.why or error.what), hint=hint)


# What cloud-init would still find to do at the first boot, by the rules of its growpart and
# resizefs.
#
# growpart moves the end of the root's partition to the next partition's start, or to the end of the
# disk less what a GPT keeps there; what would be a mebibyte or less it leaves alone.

NOTHING = "nothing"
_FUDGE = MiB
_RESIZED = ("ext2", "ext3", "ext4", "xfs", "btrfs")  # by cloud-init, right in the partition
# A header and 128 entries of 128 bytes, in sectors of 512 bytes.
_GPT_BACKUP_SECTORS = 33
# An MBR has 32 bits for a sector's number: 2 TiB.
_MBR_END = (1 << 32) * 512


def left_for_growpart(facts: Facts) -> str:
    """NOTHING, or what is left in words."""
    if facts.table is None or facts.main is None:
        # A file system on the whole disk: growdisk itself would find nothing to do.
        if facts.table is None and isinstance(propose(facts, Goal()), GoalReached):
            return NOTHING
        return "cannot be told"
    main, table = facts.main, facts.table
    end = facts.image.virtual_size
    end = (
        min(end, _MBR_END) if table.kind == "mbr" else end - _GPT_BACKUP_SECTORS * table.sector_size
    )
    following = [part.start for part in table.partitions if part.start >= main.end]
    room = min([end, *following]) - main.end
    if room > _FUDGE:
        return f"{facts.name_of(main.number)} could grow by {format_size(room)}"
    content = facts.contents.get(main.number)
    size = content.size if content is not None and content.kind in _RESIZED else None
    if size is not None and main.size - size >= _FUDGE:
        return (
            f"the file system on {facts.name_of(main.number)} could grow by "
            f"{format_size(main.size - size)}"
        )
    return NOTHING
