"""The question that the planner asks of a partition's content, and its answer.

    sda5 → LUKS → physical volume → logical volume → file system

The planner decides about tables; the content of a partition is grown by the module that knows that
kind of content. A layer that holds others asks for them in turn and puts their steps after its own:
outermost first, as they are done.

A new kind: a function (GrowthTarget, its Content) -> ContentGrowth and a case in `growers.py`, and
`growable` in its Content.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from growdisk.fast_dataclass import dataclass, replace
from growdisk.filesystems.content import Content
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal
from growdisk.planner.host_need import NOTHING, HostWrites
from growdisk.planner.refusals import CannotGrow
from growdisk.steps.device_path import DevicePath
from growdisk.steps.registry import DiskStep


@dataclass(frozen=True)
class GrowthTarget:
    """What stands at `place` now, and how many bytes the place will have.

    Number 0 of a place is the whole disk, if there is no table. `suffix` follows the name of every
    step: "" for the only partition that grows, "-sda3" for a further one.
    """

    facts: Facts
    goal: Goal
    place: DevicePath
    content: Content | None
    size: int
    suffix: str = ""

    @property
    def name(self) -> str:
        """For people: sda5, vg0/root, LUKS in sda5."""
        return self.place.name_on(self.facts.disk)

    @property
    def is_named(self) -> bool:
        """Whether somebody asked for this very partition: then it grows, whatever is in it."""
        return self.goal.partition != "auto" or bool(self.goal.grow)

    def within(self, place: DevicePath, content: Content | None, size: int) -> GrowthTarget:
        return replace(self, place=place, content=content, size=size)

    def refusal(self, reason: str, hint: str) -> CannotGrow:
        return CannotGrow(self.facts.image.path, self.place.number, reason=reason, hint=hint)


@dataclass(frozen=True)
class ContentGrowth:
    """What is done inside a partition when it has grown; all of it is right too if it has not.

    `content` is how it will be; `pending`: some layer does not fill its device, so that
    there is something to do even if the partition stays. `system` is the file system that the
    guest's own files are looked for in, as the appliance names it (/dev/sda1, /dev/vg0/root; "" if
    none can be mounted), `free` its free bytes afterwards. `notes` are lines for people: what was
    not done and why.
    """

    steps: tuple[DiskStep, ...]
    content: Content | None
    pending: bool
    system: str
    free: int = 0
    notes: tuple[str, ...] = ()
    host_writes: HostWrites = NOTHING


def together(insides: Collection[ContentGrowth]) -> ContentGrowth:
    """What is done in several partitions or volumes; `content` is that of the guest's system."""
    # A root has more room than its /boot.
    main = max(
        insides,
        key=lambda inside: (bool(inside.system), inside.content.size or 0 if inside.content else 0),
    )
    return replace(
        main,
        steps=tuple(step for inside in insides for step in inside.steps),
        pending=any(inside.pending for inside in insides),
        notes=tuple(note for inside in insides for note in inside.notes),
        host_writes=sum((inside.host_writes for inside in insides), NOTHING),
    )


def contents_after(
    contents: Mapping[int, Content], insides: Mapping[int, ContentGrowth]
) -> dict[int, Content]:
    """By the number of the partition."""
    grown = {n: inside.content for n, inside in insides.items() if inside.content is not None}
    return {**contents, **grown}
