"""Steps as written plans have them, and as those of earlier versions had them.

Those had classes of their own for running guests: most around the planned step, and two that knew
it by its words only. What these leave out, the plan's values for the guest's scripts tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

from growdisk.fast_dataclass import dataclass, replace
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.guest_scripts.script_plan import GuestPlan
from growdisk.host.json_codec import NotThatValue, Raw, decoded
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.grow_luks import GrowLuks
from growdisk.steps.grow_lv import GrowLogicalVolume
from growdisk.steps.grow_pv import GrowPhysicalVolume
from growdisk.steps.registry import STEP_KINDS, DiskStep
from growdisk.steps.remake_swap import MakeSwapFile, RemakeSwap, SwapSpace
from growdisk.steps.repair_guest import RepairGuest
from growdisk.steps.reread_partitions import RereadPartitions
from growdisk.steps.resize_image import GrowDevice, ResizeImage
from growdisk.steps.rewrite_partitions import RewritePartitions
from growdisk.storage import Storage

Planned = TypeVar("Planned")


@dataclass(frozen=True)
class _Around:
    planned: Raw


@dataclass(frozen=True)
class _InWords:
    words: str


def in_todays_words(text: bytes) -> bytes:
    """A written plan with its keys as they are now.

    Inside a string the second quote would be escaped.
    """
    return text.replace(b'"fate":', b'"action":').replace(b'"companions":', b'"extra_disks":')


def step_of(kind: str, fields: Raw, guest: GuestPlan | None) -> DiskStep:
    """The step that a plan has written as `kind`; `guest` is the plan's part for a running guest.

    Raises NotThatValue.
    """
    if kind in STEP_KINDS:
        return decoded(fields, STEP_KINDS[kind])
    if kind in _EARLIER:
        return _EARLIER[kind](fields)
    if kind in _BY_WORDS and guest is not None:
        return _BY_WORDS[kind](decoded(fields, _InWords).words, guest)
    raise NotThatValue(f"no step is called {kind}")


def _planned(fields: Raw, kind: type[Planned]) -> Planned:
    return decoded(decoded(fields, _Around).planned, kind)


@dataclass(frozen=True)
class _Resize:
    storage: Storage | None = None


def _resize(fields: Raw) -> ResizeImage:
    # One class was for both: those on a device of the host had a storage.
    kind = GrowDevice if decoded(fields, _Resize).storage else ResizeImage
    return replace(decoded(fields, kind), running=True)


def _swap(_: str, guest: GuestPlan) -> RemakeSwap | MakeSwapFile:
    moved = [
        (swap, guest.after.by_number(swap.number)) for swap in guest.swaps if swap.action == "move"
    ]
    # Swap that moves is listed in the guest's plan; if none does, the step made a swap file.
    if not moved:
        return MakeSwapFile("", guest.swap_file_size, "")
    return RemakeSwap(
        tuple(
            SwapSpace(swap.number, part.start, part.size, swap.uuid, swap.label)
            for swap, part in moved
            if part
        )
    )


def _repair(words: str, guest: GuestPlan) -> RepairGuest:
    """`words` are "the guest on sda1 forgets …"."""
    # The words name only the system; all else is in the guest's plan.
    given_up = [swap for swap in guest.swaps if swap.action in ("drop", "file")]
    swaps = tuple(
        RemovedPartition(s.number, s.uuid, s.label, s.partuuid, s.partlabel) for s in given_up
    )
    policy = SwapRemedy.FILE if any(swap.action == "file" for swap in given_up) else SwapRemedy.DROP
    system = words.removeprefix("the guest on ").partition(" forgets ")[0]
    return RepairGuest(f"/dev/{system}", swaps, policy, guest.gone)


_EARLIER: Mapping[str, Callable[[Raw], DiskStep]] = MappingProxyType(
    {
        "GrowFilesystemAt": lambda fields: decoded(fields, GrowFilesystem),
        "LiveResize": _resize,
        "LiveRewrite": lambda fields: _planned(fields, RewritePartitions),
        "LiveReread": lambda fields: replace(decoded(fields, RereadPartitions), running=True),
        "LiveGrowLuks": lambda fields: replace(_planned(fields, GrowLuks), running=True),
        "LiveGrowPhysicalVolume": lambda fields: replace(
            _planned(fields, GrowPhysicalVolume), running=True
        ),
        "LiveGrowLogicalVolume": lambda fields: replace(
            _planned(fields, GrowLogicalVolume), running=True
        ),
        "LiveGrow": lambda fields: replace(_planned(fields, GrowFilesystem), running=True),
    }
)
_BY_WORDS: Mapping[str, Callable[[str, GuestPlan], DiskStep]] = MappingProxyType(
    {"LiveRemakeSwap": _swap, "LiveRepair": _repair}
)
