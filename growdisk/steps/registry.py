"""Every kind of step that a written plan may contain. A new step is a file in this room and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from growdisk.steps.grow_device import GrowDevice
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.grow_filesystem_at import GrowFilesystemAt
from growdisk.steps.grow_luks import GrowLuks
from growdisk.steps.grow_lv import GrowLogicalVolume
from growdisk.steps.grow_pv import GrowPhysicalVolume
from growdisk.steps.live_grow import LiveGrow, LiveGrowLogicalVolume, LiveGrowLuks, LiveGrowPhysicalVolume, LiveLayer
from growdisk.steps.live_steps import LiveRemakeSwap, LiveRepair, LiveReread, LiveResize, LiveRewrite
from growdisk.steps.remake_swap import MakeSwapFile, RemakeSwap
from growdisk.steps.repair_guest import RepairGuest
from growdisk.steps.reread_partitions import RereadPartitions
from growdisk.steps.resize_image import ResizeImage
from growdisk.steps.rewrite_partitions import RewritePartitions

DiskStep = (
    ResizeImage | GrowDevice | RewritePartitions | RereadPartitions | GrowLuks | GrowPhysicalVolume | GrowLogicalVolume
    | GrowFilesystem | GrowFilesystemAt | RemakeSwap | MakeSwapFile | RepairGuest
)  # fmt: skip
LiveStep = LiveResize | LiveRewrite | LiveReread | LiveLayer | LiveRemakeSwap | LiveRepair

STEP_KINDS: Mapping[str, type[DiskStep | LiveStep]] = MappingProxyType(
    {
        kind.__name__: kind
        for kind in (
            ResizeImage,
            GrowDevice,
            RewritePartitions,
            RereadPartitions,
            GrowLuks,
            GrowPhysicalVolume,
            GrowLogicalVolume,
            GrowFilesystem,
            GrowFilesystemAt,
            RemakeSwap,
            MakeSwapFile,
            RepairGuest,
            LiveResize,
            LiveRewrite,
            LiveReread,
            LiveGrowLuks,
            LiveGrowPhysicalVolume,
            LiveGrowLogicalVolume,
            LiveGrow,
            LiveRemakeSwap,
            LiveRepair,
        )
    }
)
