"""What is asked: how large, which partition, and what may be given up for it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from growdisk.fast_dataclass import dataclass, field
from growdisk.partitions.shares import Share
from growdisk.units import SizeSpec

SwapPolicy = Literal["drop", "move", "file"]
SnapshotMode = Literal["internal", "overlay", "none"]
SnapshotChoice = Literal["auto", "internal", "overlay", "none"]
Preallocation = Literal["off", "metadata", "falloc", "full"]


@dataclass(frozen=True)
class Grow:
    """`--grow sda1=60%`: which partition, as it was named, and its share."""

    partition: str
    share: Share


@dataclass(frozen=True)
class Rule:
    """A rule for growth; `when_used` and `keep_host_free` are shares, 0 to 1.

    `max_size` is in bytes, `min_interval` in seconds. `since_growth`: seconds since the disk last
    grew, as the host knows; None if it knows of no growth.
    """

    when_used: float | None = None
    max_size: int | None = None
    min_interval: float | None = None
    keep_host_free: float | None = None
    since_growth: float | None = None


@dataclass(frozen=True)
class Goal:
    """`size` None: the image stays, and each layer with unused space is filled.

    `swap` None: given up if the guest allows it, else moved. `grow` names several partitions, or
    one and its share; `partition` names one that takes all. `delete` and `move` are consents, by
    number. `sector_size` is the disk's logical one, which an image does not record. `lv` names
    logical volumes and their shares of the free extents (default: the largest takes all);
    `lv_share` is the percentage that those without a share get together. `repair` False: the
    guest's own files are left as they are. `rule`: it grows only if that wants it.
    """

    size: SizeSpec | None = None
    partition: str = "auto"
    swap: SwapPolicy | None = None
    delete: tuple[int, ...] = ()
    preallocation: Preallocation = "off"
    move: tuple[int, ...] = ()
    grow: tuple[Grow, ...] = ()
    sector_size: int = 512
    to_gpt: bool = False
    lv: tuple[Grow, ...] = ()
    lv_share: float | None = None
    repair: bool = True
    rule: Rule | None = None


Backend = Literal["auto", "guestfs", "uml", "direct"]


@dataclass(frozen=True)
class OtherDisk:
    """Another disk of the guest in the same run.

    `goal` None: it is there because a volume group reaches onto it.
    """

    path: Path
    goal: Goal | None = None


@dataclass(frozen=True)
class RunOptions:
    """How a plan is carried out.

    `keys` are passphrases of what is encrypted inside: never written anywhere. `others` are the
    guest's other disks that take part: sdb, sdc, ... `not_in_use`: the user's word that nobody uses
    the disks, where growdisk cannot see that. `overlays_may_break`: go on although other images lie
    on one of the disks, which will show a mixture of old and new then.
    """

    backend: Backend = "auto"
    snapshots: SnapshotChoice = "auto"
    keep: bool = False
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    others: tuple[OtherDisk, ...] = ()
    not_in_use: bool = False
    overlays_may_break: bool = False
