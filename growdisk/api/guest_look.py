"""What the guest's own files say that a plan must know, and nothing else on the disk says.

Whether it sleeps in a swap file, which partitions are swap with a random key, whether all that
names what is given up can be changed, and whether this machine's tools can write there. Read here,
decided in planner/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from growdisk.fast_dataclass import replace
from growdisk.filesystems.btrfs_tree import BtrfsTree
from growdisk.filesystems.content import LuksContent, PhysicalVolumeContent, SwapContent
from growdisk.filesystems.ext_tree import META_BG, ExtTree
from growdisk.filesystems.file_tree import Unknown
from growdisk.filesystems.swap import LARGEST_PAGE, read_swap
from growdisk.filesystems.volume_group import VolumeGroup
from growdisk.guest_config.etc_tables import (
    FSTAB,
    SWAP_FILE,
    is_random_swap,
    parse_fstab,
    swap_files,
)
from growdisk.guest_config.files import decode
from growdisk.guest_config.places import CRYPTTABS, FSTABS, UNITS
from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.guest_config.systemd_units import swap_file_of
from growdisk.guest_systems.file_rewriter import unfit, unfit_for_swap_file
from growdisk.guest_systems.look import Home, Look, snapshots_naming
from growdisk.partitions.table import BIOS_BOOT, Partition, Role
from growdisk.planner.facts import Facts
from growdisk.planner.giving_up import (
    as_guest_allows,
    changes_guest,
    gives_up_unread,
    swap_alone,
)
from growdisk.planner.goal import Goal
from growdisk.planner.proposal import GoalReached, GuestSeen, PlanFunction, Proposal
from growdisk.planner.refusals import hibernated, memory_in
from growdisk.steps.device_path import LuksLayer, LvLayer
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.guest_steps import MakeSwapFile, RepairGuest
from growdisk.steps.registry import DiskStep
from growdisk.steps.step_traits import first, of_kind

if TYPE_CHECKING:
    from growdisk.guest_systems.home_repair import HomeRepair

# The usual places: looked at even if neither fstab nor a unit names a file there.
_SWAP_FILES = (
    "/swapfile*", "/swap.img", "/swap", "/swap/*", "/var/swap*", "/var/lib/swap*", "/.swapfile",
    "/.swap/*",
)  # fmt: skip
_PARTITION = r"/dev/(sda\d*)"
_RANDOM_SWAP = SwapContent("swap", random_key=True)


def with_homes(facts: Facts, look: Look) -> Facts:
    """With the partitions that systems, what they mount, and further /boots lie in."""
    nodes = {mount.node for home in look.homes for mount in home.mounts}
    found = (n for n in facts.contents if not nodes.isdisjoint(_nodes(facts, n)))
    return replace(facts, homes=tuple(sorted(found)))


def _nodes(facts: Facts, number: int) -> Iterator[str]:
    """The devices in a partition, as the appliance names them."""
    yield f"/dev/{facts.name_of(number)}"
    for content in facts.all_within(number):
        match content:
            case LuksContent(uuid=uuid):
                yield LuksLayer(uuid).device
            case PhysicalVolumeContent(group=VolumeGroup(name=group), volumes=volumes):
                yield from (LvLayer(group, name).device for name, _ in volumes)


def with_crypttab_names(facts: Facts, look: Look) -> Facts:
    """With what a guest's crypttab says of partitions of unknown content.

    Refused: a guest that sleeps in a file.
    """
    # A guest that sleeps goes on from its memory, and would not know of any change.
    for home in look.systems:
        for path, signature in _sleeping(home):
            reason = memory_in(f"the swap file {path} on {home.root.name}", signature)
            raise hibernated(facts.image.path, 0, signature, reason)
    return _with_random_swap(with_homes(facts, look), look)


def proposed_with_guest(
    propose: PlanFunction, facts: Facts, goal: Goal, look: Look
) -> Proposal | GoalReached:
    """What `propose` proposes, as far as the guest allows it."""
    proposal = propose(facts, goal)
    # Most plans touch no file of the guest: then nothing more is searched.
    if isinstance(proposal, GoalReached) or not (
        changes_guest(proposal) or gives_up_unread(facts, goal, proposal)
    ):
        return proposal
    # The guest's system where it was seen, if that is not what grows.
    systems = [home.root.node for home in look.systems]
    proposal = replace(proposal, steps=tuple(step.in_system(systems) for step in proposal.steps))
    seen, alone = _seen(look, proposal.steps), swap_alone(proposal.steps)
    of_swap = seen if alone == proposal.steps else _seen(look, alone)
    # If swap moves, others may still be given up, and what names them is looked for then.
    again = partial(proposed_with_guest, propose, look=look)
    return as_guest_allows(again, facts, goal, proposal, seen, of_swap)


# --- swap ---------------------------------------------------------------------------------------


def _sleeping(home: Home) -> Iterator[tuple[str, str]]:
    """Swap files that a system sleeps in, with the signature."""
    for path in dict.fromkeys(_swap_files(home)):
        with suppress(Unknown, OSError):
            place = home.paths.find(path)
            if place is not None and place.inode.is_file:
                # The signature ends the first page, whose length (4 to 64 KiB) is not known.
                content = read_swap(place.tree.read(place.inode, LARGEST_PAGE))
                if isinstance(content, SwapContent) and content.hibernated:
                    yield path, content.hibernated


def _swap_files(home: Home) -> Iterator[str]:
    for text in _texts(home, FSTABS):
        yield from swap_files(parse_fstab(text))
    for text in _texts(home, UNITS):
        # systemd's *.swap units name one without fstab.
        if path := swap_file_of(text):
            yield path
    for pattern in _SWAP_FILES:
        with suppress(Unknown, OSError):
            yield from home.paths.matching(pattern)


# Swap that is encrypted with another key at each start is known by the guest's crypttab alone:
#
#     cryptswap  PARTUUID=…  /dev/urandom  swap,cipher=aes-xts-plain64
#
# It may be given up, or be anywhere: only its names must stay.


def _with_random_swap(facts: Facts, look: Look) -> Facts:
    unknown = [p for p in facts.table.partitions if _is_unknown(facts, p)] if facts.table else []
    if not unknown:
        return facts
    # Any system's word is enough: one disk may hold several, and only one of them uses the swap.
    tables = [text for home in look.systems for text in _texts(home, CRYPTTABS)]
    found = [
        part.number
        for part in unknown
        if any(is_random_swap(text, _named(facts, part)) for text in tables)
    ]
    return replace(facts, contents=facts.contents | dict.fromkeys(found, _RANDOM_SWAP))


def _is_unknown(facts: Facts, part: Partition) -> bool:
    return (
        # An extended partition has only others in it, BIOS boot code without a signature.
        part.role is not Role.EXTENDED
        and part.type_code != BIOS_BOOT
        and part.number not in facts.contents
    )


def _named(facts: Facts, part: Partition) -> RemovedPartition:
    assert facts.table is not None
    return RemovedPartition(
        part.number, partuuid=facts.table.partuuid(part), partlabel=part.name or None
    )


def _texts(home: Home, patterns: tuple[str, ...]) -> Iterator[str]:
    for pattern in patterns:
        with suppress(Unknown, OSError):
            for path in home.paths.matching(pattern):
                if (place := home.paths.find(path)) is not None:
                    yield decode(place.tree.read(place.inode))


# --- what names it, and who can write that ------------------------------------------------------


def _seen(look: Look, steps: tuple[DiskStep, ...]) -> GuestSeen:
    from growdisk.guest_systems.home_repair import obstacles, repairs_of

    systems = tuple(home.root.node for home in look.systems)
    on_btrfs = tuple(h.root.node for h in look.systems if isinstance(h.paths.root.tree, BtrfsTree))
    made = first(MakeSwapFile, steps)
    grown = (step for step in of_kind(GrowFilesystem, steps) if step.new_size > step.old_size)
    growing = [step.place.device for step in grown]
    swaps = [swap for repair in of_kind(RepairGuest, steps) for swap in repair.swaps]
    unfit = _unfit_for_swap_file(look, made, systems, swaps) if made else {}
    # Two questions: what names it, and whether this machine's tools can write there (`closed`). If
    # only the second fails, another backend does the work.
    repairs: list[HomeRepair] = []
    try:
        for repair in of_kind(RepairGuest, steps):
            repairs = repairs_of(look, repair.system, repair.decisions(), growing)
        snapshots = snapshots_naming(look, swaps)
    except Unknown as unknown:
        unread = f"the guest's files cannot all be read here: {unknown}"
        return GuestSeen(systems, on_btrfs, (unread,), closed=unread, no_swap_file=unfit)
    named = dict.fromkeys(c.path for repair in repairs for c in repair.changes if c.mended)
    try:
        closed = _why_not_written(look, repairs, made)
    except Unknown as unknown:
        closed = f"the guest's files cannot be read here: {unknown}"
    found = tuple(obstacles(look, repairs))
    return GuestSeen(systems, on_btrfs, found, tuple(named), closed, unfit, snapshots)


def _is_read_only(home: Home) -> bool:
    """A subvolume of btrfs that Linux itself does not write to."""
    tree, path = home.paths.root.tree, home.root.subvolume.strip("/")
    return any(subvolume.read_only for subvolume in tree.subvolumes() if subvolume.path == path)


def _unfit_for_swap_file(
    look: Look, made: MakeSwapFile, nodes: Sequence[str], swaps: Sequence[RemovedPartition]
) -> dict[str, str]:
    """Why a system's root (its device) can have no swap file, or nothing would swap on it."""
    found = {}
    for home in (home for node in nodes if (home := look.system_on(node))):
        # With offset= in crypttab the partition has a header of swap all the same (ecryptfs).
        tables = list(_texts(home, CRYPTTABS))
        encrypted = any(is_random_swap(text, swap) for text in tables for swap in swaps)
        reason = "encrypts its swap with a random key (crypttab), and a file would not be"
        found[home.root.node] = reason if encrypted else _why_no_swap_file_at(home, made)
    return {node: reason for node, reason in found.items() if reason}


def _why_no_swap_file_at(home: Home, made: MakeSwapFile) -> str:
    if _is_read_only(home):
        return "is a read-only subvolume"
    with suppress(Unknown, OSError):
        fstab = home.paths.find(FSTAB, follow=False)
        if fstab is None or not fstab.inode.is_file:
            return f"has no file {FSTAB} that would name it"
        entries = parse_fstab(decode(fstab.tree.read(fstab.inode)))
        if any(e.mount_point == "/" and "ro" in e.options.split(",") for e in entries):
            return f"is mounted read-only ({FSTAB}), where no file can be swapped on"
        there = home.paths.find(SWAP_FILE, follow=False)
        # The planned one may be there already.
        start = there.tree.read(there.inode, LARGEST_PAGE) if there and there.inode.is_file else b""
        content = read_swap(start)
        if there is not None and (content is None or content.uuid != made.uuid):
            return f"has a {SWAP_FILE} already"
    return ""


def _why_not_written(look: Look, repairs: list[HomeRepair], made: MakeSwapFile | None) -> str:
    """Why host tools cannot write the changes; "" if they can."""
    # First what holds for all files, then each file that would change.
    if reason := _why_not_at_home(look) or (_why_no_swap_file(look, made) if made else ""):
        return reason
    for repair in repairs:
        for path in repair.pending.paths:
            place = repair.home.paths.find(path)
            if place is not None and (reason := unfit(place)):
                return f"{path} in the guest is {reason}"
    return ""


def _why_not_at_home(look: Look) -> str:
    if not look.homes:
        return "the guest's files are not where they can be read here"
    for mount in (mount for home in look.homes for mount in home.mounts):
        if re.fullmatch(_PARTITION, mount.node) is None:
            # A logical volume, or what a container encrypts.
            return (
                f"the guest's files are in {mount.node.removeprefix('/dev/')}, which only a "
                "kernel opens"
            )
    for tree in (tree for h in look.homes for tree in h.paths.trees if isinstance(tree, ExtTree)):
        # Read without its journal, the tree is not what the next mount will show.
        if tree.content.needs_recovery or not tree.content.clean:
            return (
                "the guest was not shut down cleanly: its files are known when the journal has "
                "been replayed"
            )
        if tree.content.incompat & META_BG:
            return "the group descriptors of the guest's file system are scattered (meta_bg)"
    return ""


def _why_no_swap_file(look: Look, made: MakeSwapFile) -> str:
    home = look.system_on(made.system)
    tree = home.paths.root.tree if home else None
    if isinstance(tree, ExtTree):
        return unfit_for_swap_file(tree, made.size)
    return "the swap file is made by a kernel"
