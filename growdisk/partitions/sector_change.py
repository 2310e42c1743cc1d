"""A change of a table, as the sectors that it takes."""

from __future__ import annotations

from growdisk.fast_dataclass import dataclass


@dataclass(frozen=True)
class SectorChange:
    """One whole sector of a table with its new content."""

    offset: int
    data: bytes
