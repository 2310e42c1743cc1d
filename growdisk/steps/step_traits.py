"""What a planner asks of every step, with the answers that most give."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Self, TypeVar

from growdisk.fast_dataclass import replace
from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.guest_scripts.script_plan import SwapAction
from growdisk.partitions.table import FIRST_DISK
from growdisk.steps.device_path import DevicePath
from growdisk.steps.moving import Move
from growdisk.steps.worker import DiskView

Kind = TypeVar("Kind")


def of_kind(kind: type[Kind], steps: Iterable[object]) -> list[Kind]:
    return [step for step in steps if isinstance(step, kind)]


def first(kind: type[Kind], steps: Iterable[object]) -> Kind | None:
    return next(iter(of_kind(kind, steps)), None)


class StepTraits:
    """The base of all steps. Not a protocol: a step states only what is special about it."""

    __match_args__: ClassVar[tuple[str, ...]] = ()
    """The names of its fields, as of every dataclass."""
    running: bool = False
    """Whether a running guest has what it works on."""
    moves: tuple[Move, ...] = ()
    """Partitions that it copies to another place."""
    gone: tuple[RemovedPartition, ...] = ()
    """Partitions other than swap that the guest's own files forget."""
    changes_guest: ClassVar[bool] = False
    """Whether it changes the guest's own files."""
    disk: int = 0
    """Which of the run's disks it is for (ExtraDiskStep)."""
    suffix: str = ""
    """What its name ends with if others of its kind grow something else: -sda5, -sda5-home."""

    def described(self, disk: str) -> str:
        """What it does, in one line, of the guest's disk with that name."""
        raise NotImplementedError

    def describe(self) -> str:
        return self.described(FIRST_DISK)

    @property
    def own(self) -> Self:
        """As the disk itself has it, whichever of the run's disks that is."""
        return self

    def while_running(self, *, restart: bool, device_size: int) -> Self:
        """The same step, on a running guest.

        `restart`: it restarts to see its disk's new size. `device_size`: what the host's device has
        now, in bytes.
        """
        now = {"running": True, "restart": restart, "device_size": device_size}
        own = {name: now[name] for name in self.__match_args__ if name in now}
        # Each step is a dataclass; their base is none.
        return replace(self, **own)  # type: ignore[type-var]

    @property
    def needs_kernel(self) -> bool:
        """Whether this machine's tools cannot do it without a kernel that has the disk."""
        return False

    @property
    def own_tools(self) -> tuple[str, ...]:
        """Programs that do it without a kernel, beyond those that every run takes."""
        return ()

    @property
    def kernel_tools(self) -> tuple[str, ...]:
        """Programs of this machine that a kernel (uml) needs for the step, beyond every run's."""
        return ()

    @property
    def works_at(self) -> DevicePath | None:
        """Where it makes something larger that stands in a partition."""
        return None

    @property
    def partition(self) -> int:
        """The number of the partition that it works in; 0 for none, and for the whole disk."""
        return self.works_at.number if self.works_at else 0

    @property
    def swap_actions(self) -> tuple[tuple[int, SwapAction], ...]:
        """What becomes of swap, by the number of its partition."""
        return ()

    @property
    def usual(self) -> dict[str, object]:
        """Fields, with their values, that a written plan leaves out: those of a disk at rest."""
        return {"running": False, "restart": False, "device_size": 0}

    @property
    def added(self) -> int:
        """By how many bytes it makes the disk larger."""
        return 0

    def has_begun(self, context: DiskView) -> bool:
        """Whether something that is in use may be larger already: that cannot be made smaller."""
        return False

    def in_system(self, systems: Sequence[str]) -> Self:
        """The same step in the guest's system, if that was seen elsewhere (`systems`: devices)."""
        return self
