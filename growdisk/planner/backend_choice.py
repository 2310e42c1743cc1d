"""Who works on the guest's file systems: host tools (direct) where they can do all of it right, else a kernel.

That is one that runs as a program (uml) where this machine lets it, else that of libguestfs's appliance.

The guest is looked through beforehand, so that a run never finds half-way that a file cannot be rewritten in place.
"""

from __future__ import annotations

import re

from growdisk.backends.backend import Kind
from growdisk.backends.filesystem_growth import UNMOUNTED
from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import ExtContent, F2fsContent
from growdisk.filesystems.ext_features import doubt
from growdisk.filesystems.ext_tree import META_BG, ExtTree, Unknown
from growdisk.guest_systems.file_rewriter import unfit, unfit_for_swap_file
from growdisk.guest_systems.home_repair import GuestSeen
from growdisk.guest_systems.look import Look, look_at
from growdisk.host.command import PACKAGES, is_here
from growdisk.planner.facts import Facts
from growdisk.planner.failures import OptionUnsupported
from growdisk.planner.fitness import refuse_unfit
from growdisk.planner.goal import RunOptions
from growdisk.planner.planner import Proposal
from growdisk.steps.device_path import DevicePath
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.grow_filesystem_at import GrowFilesystemAt
from growdisk.steps.grow_luks import GrowLuks
from growdisk.steps.grow_lv import GrowLogicalVolume
from growdisk.steps.grow_pv import GrowPhysicalVolume
from growdisk.steps.registry import DiskStep
from growdisk.steps.remake_swap import MakeSwapFile, RemakeSwap
from growdisk.steps.repair_guest import RepairGuest
from growdisk.steps.reread_partitions import RereadPartitions
from growdisk.steps.resize_image import ResizeImage
from growdisk.steps.rewrite_partitions import RewritePartitions
from growdisk.units import format_size

_SERVED = (
    ResizeImage, RewritePartitions, RereadPartitions, GrowFilesystem, RemakeSwap, MakeSwapFile, RepairGuest,
)  # fmt: skip
_PARTITION = re.compile(r"/dev/(sda\d*)")
_SECTOR = 512
_BIGALLOC = 0x200
# resize2fs goes through all of a file system, a kernel does not: longer than the one or the other takes to start.
_LARGE, _LARGE_FOR_APPLIANCE = 128 << 30, 2 << 40


@dataclass(frozen=True)
class Choice:
    backend: Kind
    reason: str


GUESTFS = Choice("guestfs", "as asked")
DIRECT = Choice("direct", "this machine's own tools can do all of it")
_LEAVE_OUT = "leave the option out: another one does it then"
_OPENERS = {"luks": "cryptsetup", "lv": "lvm"}
_TOOLS = {"xfs": "xfs_growfs", "btrfs": "btrfs", "ext2": "resize2fs", "ext3": "resize2fs", "ext4": "resize2fs"}


def choose_backend(
    facts: Facts, proposal: Proposal, options: RunOptions, device: BlockDevice, *, tried: bool = False
) -> Choice:
    """`device` is the disk, to be looked into. `tried`: host tools have just worked on it. OptionUnsupported where a
    backend that is asked for cannot be had; CannotGrow where none can do it."""
    refuse_unfit(facts, proposal.steps)
    if options.backend == "guestfs":
        return GUESTFS
    if options.backend == "uml":
        if not (reason := _why_no_kernel(facts, proposal.steps)):
            return Choice("uml", "as asked")
        raise OptionUnsupported(facts.image.path, option="--backend uml", reason=reason, hint=_LEAVE_OUT)
    reason = _why_not(facts, proposal, device, tried=tried)
    if options.backend == "direct":
        if reason:
            raise OptionUnsupported(facts.image.path, option="--backend direct", reason=reason, hint=_LEAVE_OUT)
        return DIRECT
    if not reason and not (reason := _why_slower(proposal.steps) or _why_doubtful(facts, proposal.steps)):
        return DIRECT
    return Choice("guestfs" if _why_no_kernel(facts, proposal.steps) else "uml", reason)


def _why_not(facts: Facts, proposal: Proposal, device: BlockDevice, *, tried: bool) -> str:
    steps = proposal.steps
    if other := [step.name for step in steps if not _is_served(step)]:
        return f"{other[0]} needs a kernel"
    if facts.table is not None and facts.table.sector_size != _SECTOR:
        return f"sfdisk cannot be told of sectors of {facts.table.sector_size} bytes"
    try:
        inside = next((reason for step in steps if (reason := _why_not_inside(facts, step))), "")
        inside = inside or _why_not_in_guest(facts, proposal, device)
    except Unknown as unknown:
        inside = f"the guest's files cannot be read here: {unknown}"
    if inside:
        return inside
    from growdisk.backends.direct_available import why_unavailable

    return _missing_tools(steps) or str(why_unavailable(tried=tried) or "")


def _why_slower(steps: tuple[DiskStep, ...]) -> str:
    grown = [step for step in steps if isinstance(step, GrowFilesystem) and not isinstance(step, GrowFilesystemAt)]
    largest = max((step.new_size for step in grown), default=0)
    if largest <= _LARGE:
        return ""
    from growdisk.backends.doctor import has_appliance
    from growdisk.backends.uml_available import why_unavailable

    if why_unavailable() and not (largest > _LARGE_FOR_APPLIANCE and has_appliance()):
        return ""
    return f"a kernel grows a file system of {format_size(largest)} sooner than resize2fs alone"


def _why_doubtful(facts: Facts, steps: tuple[DiskStep, ...]) -> str:
    """A kernel that grows it also says whether it can be mounted: see filesystems/ext_features.py."""
    grown = [step for step in steps if isinstance(step, GrowFilesystem) and not isinstance(step, GrowFilesystemAt)]
    for step in grown:
        content = facts.contents.get(step.number)
        if isinstance(content, ExtContent) and (found := doubt(content, step.new_size)) and _has_a_kernel():
            return f"{found}: a kernel grows that more safely than resize2fs alone"
    return ""


def _has_a_kernel() -> bool:
    from growdisk.backends.doctor import has_appliance
    from growdisk.backends.uml_available import why_unavailable

    return why_unavailable() is None or has_appliance()


def _why_no_kernel(facts: Facts, steps: tuple[DiskStep, ...]) -> str:
    """Why a kernel that runs as a program cannot do it, with this machine's tools; "" where it can."""
    if facts.table is not None and facts.table.sector_size != _SECTOR:
        return f"its disks have sectors of {_SECTOR} bytes"
    from growdisk.backends.uml_available import why_unavailable

    missing = [tool for step in steps for tool in _kernel_tools(step) if not is_here(tool)]
    if missing:
        return f"{missing[0]} is not installed: sudo apt-get install {PACKAGES[missing[0]]}"
    return str(why_unavailable() or "")


def _kernel_tools(step: DiskStep) -> list[str]:
    if isinstance(step, GrowPhysicalVolume | GrowLogicalVolume):
        return ["lvm", *_openers(step.place)]
    if isinstance(step, GrowLuks):
        return _openers(step.place)
    if isinstance(step, GrowFilesystemAt):
        growing = [command[0] for command in UNMOUNTED[step.kind]] if step.kind in UNMOUNTED else [_TOOLS[step.kind]]
        return [*growing, *_openers(step.place)]
    return []


def _openers(place: DevicePath) -> list[str]:
    return [_OPENERS[layer.partition(":")[0]] for layer in place.layers]


def _is_served(step: DiskStep) -> bool:
    if isinstance(step, GrowFilesystemAt):  # XFS and btrfs are grown by a kernel; LUKS and LVM are opened by one
        return not step.layers and step.kind in UNMOUNTED
    return isinstance(step, _SERVED)


def _missing_tools(steps: tuple[DiskStep, ...]) -> str:
    kinds = [step.kind for step in steps if isinstance(step, GrowFilesystemAt)]
    missing = [command[0] for kind in kinds for command in UNMOUNTED[kind] if not is_here(command[0])]
    return f"{missing[0]} is not installed: sudo apt-get install {PACKAGES[missing[0]]}" if missing else ""


def _why_not_inside(facts: Facts, step: DiskStep) -> str:
    if isinstance(step, GrowFilesystem) and not isinstance(step, GrowFilesystemAt):
        content = facts.contents.get(step.number)
        return _why_not_grown(content) if isinstance(content, ExtContent) else ""
    if isinstance(step, GrowFilesystemAt):
        found = facts.contents.get(step.number)
        if isinstance(found, F2fsContent) and not found.clean:
            return "its F2FS was not unmounted in order: only a kernel knows what was written last"
    return ""


def _why_not_grown(content: ExtContent) -> str:
    if content.external_journal:
        return "its journal is on another partition, and a tool is shown one alone"
    if content.ro_compat & _BIGALLOC:
        return "resize2fs cannot safely grow a bigalloc file system"
    return ""


def _why_not_in_guest(facts: Facts, proposal: Proposal, device: BlockDevice) -> str:
    """The guest's files are looked at only if something in them is to change."""
    steps = [step for step in proposal.steps if isinstance(step, RepairGuest | MakeSwapFile)]
    if not steps:
        return ""
    guest = proposal.guest or GuestSeen(look_at(device, facts.image.path))
    if not guest.look.homes or guest.unread:
        return guest.unread or "the guest's files are not where they can be read here"
    for step in steps:
        seen = guest if proposal.guest or isinstance(step, MakeSwapFile) else _judged(guest.look, step)
        if reason := _why_not_at_home(guest.look) or _why_not_written(step, seen):
            return reason
    return ""


def _judged(look: Look, step: RepairGuest) -> GuestSeen:
    return GuestSeen.by(look, step.system, step.decisions())


def _why_not_at_home(look: Look) -> str:
    for mount in (mount for home in look.homes for mount in home.mounts):
        if _PARTITION.fullmatch(mount.node) is None:
            return f"the guest's files are in {mount.node.removeprefix('/dev/')}, which only a kernel opens"
    for tree in (tree for home in look.homes for tree in home.paths.trees if isinstance(tree, ExtTree)):
        if tree.content.needs_recovery or not tree.content.clean:
            return "the guest was not shut down cleanly: its files are known when the journal has been replayed"
        if tree.content.incompat & META_BG:
            return "the group descriptors of the guest's file system are scattered (meta_bg)"
    return ""


def _why_not_written(step: RepairGuest | MakeSwapFile, guest: GuestSeen) -> str:
    if isinstance(step, MakeSwapFile):
        roots = [home.paths.root.tree for home in guest.look.systems if home.root.node == step.system]
        ext = [tree for tree in roots if isinstance(tree, ExtTree)]
        return unfit_for_swap_file(ext[0], step.size) if ext else "the swap file is made by a kernel"
    for repair in guest.repairs:
        for path in repair.pending.paths:
            place = repair.home.paths.find(path)
            if place is not None and (reason := unfit(place)):
                return f"{path} in the guest is {reason}"
    return ""
