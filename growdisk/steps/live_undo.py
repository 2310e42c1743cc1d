"""Going back without losing anything: the guest's own undo takes its table back, and QEMU the disk's size.

That works until something in the partition has begun to grow: what is in use cannot be made smaller. It is the store of
`--snapshots none`, and what the store with snapshots tries first.
"""

from __future__ import annotations

from growdisk.block.window import Window
from growdisk.errors import GrowdiskError
from growdisk.guest_scripts.script_plan import Phase
from growdisk.partitions.sectors import read_table
from growdisk.partitions.table import PartitionTable
from growdisk.steps.live_context import LiveContext
from growdisk.steps.live_grow import LIVE_LAYERS
from growdisk.steps.live_steps import LiveReread, LiveResize, LiveRewrite
from growdisk.storage.growing import device_size, resize_device
from growdisk.workflow.failures import NothingToRestore


class LiveUndo:
    """A SnapshotStore that takes none. `steps` are the plan's."""

    def __init__(self, context: LiveContext, steps: tuple[object, ...]) -> None:
        self._context = context
        self._resize = next(step for step in steps if isinstance(step, LiveResize))
        self._rewrite = next((step for step in steps if isinstance(step, LiveRewrite)), None)
        self._growths = [step for step in steps if isinstance(step, LIVE_LAYERS)]

    @property
    def can_restore(self) -> bool:
        """As long as all has its old size; False where the guest cannot be asked."""
        try:
            return not self._has_grown()
        except GrowdiskError:
            return False

    def take(self, step: str) -> None:
        """What undo needs, the guest's own scripts save."""

    def refuse_missing(self, step: str) -> None:
        """Told by `restore`: the guest's own files are what it needs."""

    def restore(self, step: str) -> None:
        """NothingToRestore once something in the partition has grown."""
        if self._has_grown():
            raise NothingToRestore(step)
        if step in (LiveRewrite.name, LiveReread.name):
            self._take_table_back()
        elif step == LiveResize.name:
            self._take_size_back()

    def reserve(self) -> None:
        """Nothing will be needed."""

    def keep(self) -> None:
        """There is nothing to keep."""

    def settle(self) -> None:
        """There is nothing to forget."""

    def discard(self) -> None:
        """There is nothing to forget."""

    def close(self) -> None:
        self._context.inside.forget()

    def _has_grown(self) -> bool:
        return any(step.has_begun(self._context) for step in self._growths)

    def _take_table_back(self) -> None:
        assert self._rewrite is not None
        self._context.run_to_the_end(Phase.UNDO)
        before = self._rewrite.planned.before
        if self._table(self._context.seen().size) != before:
            raise NothingToRestore(self._rewrite.name)

    def _take_size_back(self) -> None:
        """Smaller again, if the table says that nothing is beyond the old end; NothingToRestore otherwise."""
        old = self._resize.old_size
        sector = old - old % 512
        if self._context.disk.size == old:
            return
        if self._rewrite is None:
            self._context.run_to_the_end(Phase.UNDO)  # what has begun to grow meanwhile refuses
        elif self._table(sector) != self._rewrite.planned.before.with_disk_size(sector):
            raise NothingToRestore(self._resize.name)
        self._shrink_device()
        self._context.machine.take_back(self._context.key, old)

    def _shrink_device(self) -> None:
        """The host's device before QEMU, which goes by the size of it. NothingToRestore if others changed that size."""
        path, present = self._context.path, 0
        if self._resize.storage is None or (present := device_size(path)) == self._resize.device_size:
            return
        if present != self._resize.new_size:
            raise NothingToRestore(self._resize.name)
        resize_device(path, self._resize.device_size)

    def _table(self, size: int) -> PartitionTable | None:
        """The table of the disk as if it ended after `size` bytes; None where it would not be a sound one."""
        try:
            return read_table(Window(self._context.seen(), 0, size), self._context.path)
        except GrowdiskError:
            return None
