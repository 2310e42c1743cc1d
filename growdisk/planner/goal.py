"""What is asked: how large, which partition, and what may be given up for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from growdisk.units import SizeSpec

SwapPolicy = Literal["drop", "move", "file"]
SnapshotMode = Literal["internal", "overlay", "none"]
Preallocation = Literal["off", "metadata", "falloc", "full"]


@dataclass(frozen=True)
class Goal:
    """`size` None: the image stays, and each layer that lags behind is filled."""

    size: SizeSpec | None = None
    partition: str = "auto"
    swap: SwapPolicy = "drop"
    delete: tuple[int, ...] = ()
    preallocation: Preallocation = "off"


@dataclass(frozen=True)
class RunOptions:
    """How a plan is carried out."""

    backend: Literal["auto", "guestfs", "direct"] = "auto"
    snapshots: Literal["auto", "internal", "overlay", "none"] = "auto"
    keep: bool = False
