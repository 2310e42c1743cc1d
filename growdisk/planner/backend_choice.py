"""Chooses who works on the guest's file systems at rest, or refuses what nobody here can grow.

Host tools (direct) do it if they can, else a kernel: one that runs as a program (uml) if this
machine allows it, else that of libguestfs's appliance. The guest's files are read beforehand, so
that a run never finds half-way that a file cannot be rewritten in place.

What a running guest grows itself is not checked here: it has the tools, the kernel and the devices
that it needs.
"""

from __future__ import annotations

from itertools import chain
from typing import Protocol

from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import (
    BtrfsContent,
    Content,
    ExtContent,
    F2fsContent,
    JournalContent,
    XfsContent,
)
from growdisk.filesystems.ext_features import (
    doubt,
    grows_far,
    has_feature,
    is_unusual,
    kernel_can_mount,
    unknown_to_tools,
)
from growdisk.filesystems.ext_growth import size_in_place
from growdisk.planner.facts import Facts
from growdisk.planner.giving_up import changes_guest
from growdisk.planner.goal import RunOptions
from growdisk.planner.proposal import Proposal
from growdisk.planner.refusals import CannotGrow, option_unsupported
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.registry import DiskStep
from growdisk.steps.step_traits import of_kind
from growdisk.steps.worker import BackendKind
from growdisk.units import format_size


class HostTools(Protocol):
    """Facts of this machine. A `why_` is a reason, with what to do about it; "" if there is none.

    The planner does not look: it is given them, by the api (api/host.py) or by a test. They
    are methods, because they cannot be looked up beforehand: whether a kernel starts here takes a
    second to try, and which tools matter only the proposal says. It is as if all had been looked
    up: no answer depends on what was asked or decided before, and to ask changes nothing.
    """

    def why_no_tool(self, tool: str) -> str: ...

    def why_not_direct(self) -> str:
        """Of this machine's own tools, confined."""

    def why_no_kernel(self) -> str:
        """Of a kernel that runs as a program (uml)."""

    def has_appliance(self) -> bool: ...

    def e2fsprogs(self) -> tuple[int, int]:
        """The version, as (1, 47)."""


_SECTOR = 512
_UML_DISKS = 16  # MAX_DEV of arch/um/drivers/ubd_kern.c
# resize2fs goes through all of a file system, a kernel that has it mounted does not: from these
# sizes on that takes longer than uml, or libguestfs's appliance, takes to start.
_LARGE, _LARGE_FOR_APPLIANCE = 128 << 30, 2 << 40


@dataclass(frozen=True)
class Choice:
    backend: BackendKind
    reason: str


GUESTFS = Choice("guestfs", "as asked")
DIRECT = Choice("direct", "this machine's own tools can do all of it")


def choose_backend(
    facts: Facts, proposal: Proposal, options: RunOptions, host: HostTools
) -> Choice:
    """The backend for the proposal, and why.

    option-unsupported if a requested backend is not available; CannotGrow if none can do it.
    """
    # First, for every backend: what no tool and no kernel can grow.
    refuse_unfit(facts, proposal.steps, host)
    if options.backend == "guestfs":
        return GUESTFS
    work = _Work(facts, proposal, host, disks=1 + len(options.others))
    if options.backend == "uml":
        _refuse_asked(facts, options, work.why_no_kernel())
        return Choice("uml", "as asked")
    # Decides `--backend direct`, and comes first if nothing was asked for.
    reason = work.why_not_direct()
    if options.backend == "direct":
        _refuse_asked(facts, options, reason)
        return DIRECT
    # auto: host tools if they can, `reason` being empty, and a kernel would not do it better.
    if not reason and not (reason := work.why_slower() or work.why_doubtful()):
        return DIRECT
    return Choice("guestfs" if work.why_no_kernel() else "uml", reason)


def _refuse_asked(facts: Facts, options: RunOptions, reason: str) -> None:
    if reason:
        hint = "leave the option out: another one does it then"
        raise option_unsupported(facts.image.path, f"--backend {options.backend}", reason, hint)


@dataclass(frozen=True)
class _Work:
    """What is to be done, and where. A `why_` is a reason against that way, "" if there is none."""

    facts: Facts
    proposal: Proposal
    host: HostTools
    disks: int

    def why_not_direct(self) -> str:
        facts, steps, host = self.facts, self.proposal.steps, self.host
        if other := [step.name for step in steps if step.needs_kernel]:
            return f"{other[0]} needs a kernel"
        if facts.table is not None and facts.table.sector_size != _SECTOR:
            return f"sfdisk cannot be told of sectors of {facts.table.sector_size} bytes"
        # What the facts show comes before what has to be looked up on this machine.
        seen = [_why_not_inside(facts, step) for step in steps]
        if changes_guest(self.proposal):
            guest = self.proposal.guest
            seen.append(guest.closed if guest else "the guest's files were not looked at")
        missing = (host.why_no_tool(tool) for step in steps for tool in step.own_tools)
        return next(filter(None, chain(seen, missing)), "") or host.why_not_direct()

    def why_no_kernel(self) -> str:
        """Of one that runs as a program. It takes a second to try: asked only where it matters."""
        facts, host = self.facts, self.host
        if self.disks > _UML_DISKS:
            return f"it takes no more than {_UML_DISKS} disks"
        if facts.table is not None and facts.table.sector_size != _SECTOR:
            return f"its disks have sectors of {_SECTOR} bytes"
        if any(self._is_unmountable(content) for content in facts.all_within(*facts.contents)):
            return "its kernel does not mount the ext file system that it would have to"
        tools = (tool for step in self.proposal.steps for tool in step.kernel_tools)
        return next(filter(None, map(host.why_no_tool, tools)), "") or host.why_no_kernel()

    def _is_unmountable(self, content: Content) -> bool:
        """Whether it must be mounted, to grow or to change files, and cannot be."""
        return (
            isinstance(content, ExtContent)
            and not kernel_can_mount(content)
            and (changes_guest(self.proposal) or has_feature(content, "bigalloc"))
        )

    def why_slower(self) -> str:
        """Why a kernel should do it sooner than host tools would; "" too if none is there."""
        largest = max((step.new_size for step in self._plain_ext()), default=0)
        if largest <= _LARGE:
            return ""
        # Slow is better than not at all: without a kernel that starts soon enough, host tools.
        if self.why_no_kernel() and not (
            largest > _LARGE_FOR_APPLIANCE and self.host.has_appliance()
        ):
            return ""
        return f"a kernel grows a file system of {format_size(largest)} sooner than resize2fs alone"

    def why_doubtful(self) -> str:
        """Why a kernel should grow it instead of resize2fs; "" too if none is there."""
        # A kernel that grows a file system also shows that it can be mounted (ext_features.py).
        for step in self._plain_ext():
            content = self.facts.contents.get(step.number)
            if (
                isinstance(content, ExtContent)
                and (found := doubt(content, step.new_size))
                # A kernel that cannot mount it does no more than host tools do.
                and kernel_can_mount(content)
                and (not self.why_no_kernel() or self.host.has_appliance())
            ):
                return f"{found}: a kernel grows that more safely than resize2fs alone"
        return ""

    def _plain_ext(self) -> list[GrowFilesystem]:
        return [s for s in of_kind(GrowFilesystem, self.proposal.steps) if s.is_plain_ext]


def _why_not_inside(facts: Facts, step: DiskStep) -> str:
    if not isinstance(step, GrowFilesystem):
        return ""
    match facts.contents.get(step.number):
        case ExtContent(external_journal=journal) if step.is_plain_ext and journal:
            return "its journal is on another partition, and a tool is shown one alone"
        case ExtContent() as content if step.is_plain_ext and has_feature(content, "bigalloc"):
            return "resize2fs cannot safely grow a bigalloc file system"
        case ExtContent() as content if step.is_plain_ext and _outgrows(content, step.new_size):
            return "it becomes so much larger that resize2fs has no room for its descriptors"
        case F2fsContent(clean=False):
            return "its F2FS was not unmounted in order: only a kernel knows what was written last"
    return ""


_NEWER = "grow it on a machine with a newer e2fsprogs, or from inside the guest"
_INSIDE = "grow it from inside the guest"


def refuse_unfit(facts: Facts, steps: tuple[DiskStep, ...], host: HostTools) -> None:
    """CannotGrow, which says what it is."""
    for step in of_kind(GrowFilesystem, steps):
        # A step that has nothing left to grow is only there to be skipped.
        if step.new_size > step.old_size:
            content = facts.content_with(step.uuid, step.number)
            starts = facts.is_known_by_sectors(step.number) and not step.layers
            if found := _unfit(facts, content, step.new_size, host, starts=starts):
                raise CannotGrow(facts.image.path, step.number, *found)


def _unfit(
    facts: Facts, content: Content | None, new_size: int, host: HostTools, *, starts: bool
) -> tuple[str, str] | None:
    match content:
        case ExtContent():
            return (
                _at_odds(content)
                or _absent_journal(facts, content)
                or _unknown_features(content, host)
                or _too_far_unmounted(content, new_size)
                or _moves_what_starts(content, new_size, starts=starts)
            )
        case XfsContent() | BtrfsContent() if content.unfit:
            return content.unfit, _INSIDE
        case F2fsContent() if content.unfit:  # its tool is the same one there
            return content.unfit, "copy its files into a new, larger F2FS"
    return None


def _at_odds(content: ExtContent) -> tuple[str, str] | None:
    has_inode = has_feature(content, "resize_inode")
    found = (
        (
            has_feature(content, "read-only"),
            "its ext says that nobody may write to it (read-only)",
            "tune2fs -O ^read-only, if that is no more so",
        ),
        (
            has_feature(content, "shared_blocks"),
            "files share blocks in it, so that nobody may write to it (shared_blocks)",
            "e2fsck -E unshare_blocks",
        ),
        (
            content.in_check,
            "an e2fsck has marked it as in its hands, and has not taken that back (MMP)",
            "if none is running any more: tune2fs -f -E clear_mmp, in the guest or on a copy",
        ),
        (
            has_feature(content, "meta_bg") if has_inode else content.reserved_gdt_blocks,
            "its superblock contradicts itself about room for group descriptors (resize_inode), "
            "which e2fsck does not mend without being asked to",
            "e2fsck -fy, in the guest or on a copy; then grow it",
        ),
    )
    return next(((why, cure) for holds, why, cure in found if holds), None)


def _absent_journal(facts: Facts, content: ExtContent) -> tuple[str, str] | None:
    wanted = content.external_journal
    journals = (c for c in facts.all_within(*facts.contents) if isinstance(c, JournalContent))
    if not wanted or any(journal.uuid == wanted for journal in journals):
        return None
    return (
        f"its journal is on another device (UUID {wanted}), which is not on this disk",
        f"{_INSIDE}, or take its journal away there first: tune2fs -O ^has_journal",
    )


def _unknown_features(content: ExtContent, host: HostTools) -> tuple[str, str] | None:
    if not is_unusual(content):
        return None
    version = host.e2fsprogs()
    if not (unknown := unknown_to_tools(content, version)):
        return None
    number = ".".join(map(str, version))
    words = (
        f"it has {' and '.join(unknown)}, which neither this machine's e2fsprogs ({number}) "
        "nor its kernels know"
    )
    return words, _NEWER


def _moves_what_starts(
    content: ExtContent, new_size: int, *, starts: bool
) -> tuple[str, str] | None:
    """Boot code in the file system itself finds files by their blocks: extlinux, LILO, GRUB.

    `starts`: that in another boot sector does so.
    """
    most = size_in_place(content)
    if not (content.starts or starts) or new_size <= most or has_feature(content, "meta_bg"):
        return None
    reason = "a boot loader in it finds its files by their blocks, and growing would move them"
    return reason, f"let it grow to {format_size(most)} at most: more GDT blocks are not reserved"


def _outgrows(content: ExtContent, new_size: int) -> bool:
    """Whether resize2fs fails at that unless a kernel has it mounted, or loses the resize_inode."""
    # It moves what is in the way of the new group descriptors. In an only group that is not full
    # that may be the resize_inode's own block: "Illegal doubly indirect block found".
    group = content.blocks_per_group * content.block_size
    return (
        grows_far(content, new_size)
        and has_feature(content, "resize_inode")
        and (content.size or 0) < group
        and new_size > size_in_place(content)
    )


def _too_far_unmounted(content: ExtContent, new_size: int) -> tuple[str, str] | None:
    """Why only a kernel could grow it so far, and none can mount it; None if it is possible."""
    # A kernel that has it mounted puts the new descriptors elsewhere (meta_bg).
    if not _outgrows(content, new_size) or kernel_can_mount(content):
        return None
    return (
        "it becomes so much larger that only a kernel that mounts it has room for its new "
        "group descriptors, and no kernel that growdisk starts can mount it",
        f"{_INSIDE}, or let it grow by less",
    )
