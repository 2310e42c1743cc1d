"""Every kind of step that a written plan may contain.

A new step is a file in this room and a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.grow_luks import GrowLuks
from growdisk.steps.grow_lv import GrowLogicalVolume
from growdisk.steps.grow_pv import GrowPhysicalVolume
from growdisk.steps.remake_swap import MakeSwapFile, RemakeSwap
from growdisk.steps.repair_guest import RepairGuest
from growdisk.steps.reread_partitions import RereadPartitions
from growdisk.steps.resize_image import GrowDevice, ResizeImage
from growdisk.steps.rewrite_partitions import RewritePartitions

GROWTHS = (GrowLuks, GrowPhysicalVolume, GrowLogicalVolume, GrowFilesystem)
"""What grows inside a partition."""

DiskStep = (
    ResizeImage
    | GrowDevice
    | RewritePartitions
    | RereadPartitions
    | GrowLuks
    | GrowPhysicalVolume
    | GrowLogicalVolume
    | GrowFilesystem
    | RemakeSwap
    | MakeSwapFile
    | RepairGuest
)

STEP_KINDS: Mapping[str, type[DiskStep]] = MappingProxyType(
    {
        kind.__name__: kind
        for kind in (
            ResizeImage,
            GrowDevice,
            RewritePartitions,
            RereadPartitions,
            *GROWTHS,
            RemakeSwap,
            MakeSwapFile,
            RepairGuest,
        )
    }
)
