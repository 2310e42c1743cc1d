"""What is to be made of a base image: for all outputs (Recipe), and for each of them (Output)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from growdisk.planner.goal import SwapPolicy
from growdisk.qcow2.probe import ImageFormat
from growdisk.units import SizeSpec


@dataclass(frozen=True)
class Recipe:
    """`size` None: the disk stays as large as the base; `format` None: that of the base.

    `overlay`: OUT is a qcow2 on top of the base, which must stay where it is and as it is. `base_format` None: probed.
    """

    size: SizeSpec | None = None
    overlay: bool = False
    format: ImageFormat | None = None
    compress: bool = False
    compression: Literal["zlib", "zstd"] | None = None
    base_format: ImageFormat | None = None
    partition: str = "auto"
    swap: SwapPolicy = "drop"
    backend: Literal["auto", "guestfs", "direct"] = "auto"
    reproducible: bool = False

    @property
    def compressed(self) -> bool:
        return self.compress or self.compression is not None


@dataclass(frozen=True)
class Output:
    """One image to be. `size` overrides the recipe's; `variables` are what its texts may name."""

    path: Path
    size: SizeSpec | None = None
    variables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
