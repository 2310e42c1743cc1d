"""Chooses who works on the guest's file systems: host tools (direct) if they can, else a kernel.

The kernel is one that runs as a program (uml) if this machine allows it, else that of libguestfs's
appliance.

The guest's files are read beforehand, so that a run never finds half-way that a file cannot be
rewritten in place.
"""

from __future__ import annotations

from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import ExtContent, F2fsContent
from growdisk.filesystems.ext_features import doubt
from growdisk.planner.facts import Facts
from growdisk.planner.failures import option_unsupported
from growdisk.planner.fitness import refuse_unfit
from growdisk.planner.giving_up import changes_guest
from growdisk.planner.goal import RunOptions
from growdisk.planner.host_tools import HostTools
from growdisk.planner.proposal import Proposal
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.registry import DiskStep
from growdisk.steps.step_traits import of_kind
from growdisk.steps.worker import BackendKind
from growdisk.units import format_size

_SECTOR = 512
_BIGALLOC = 0x200
# resize2fs goes through all of a file system, a kernel that has it mounted does not. From these
# sizes on that takes longer than uml, or libguestfs's appliance, takes to start.
_LARGE, _LARGE_FOR_APPLIANCE = 128 << 30, 2 << 40


@dataclass(frozen=True)
class Choice:
    backend: BackendKind
    reason: str


GUESTFS = Choice("guestfs", "as asked")
DIRECT = Choice("direct", "this machine's own tools can do all of it")
_LEAVE_OUT = "leave the option out: another one does it then"


def choose_backend(
    facts: Facts, proposal: Proposal, options: RunOptions, host: HostTools
) -> Choice:
    """The backend for the proposal, and why.

    option-unsupported if a requested backend is not available; CannotGrow if none can do it.
    """
    # First of all, whoever was asked for: what no tool and no kernel can grow, no choice makes
    # possible.
    refuse_unfit(facts, proposal.steps, host)
    if options.backend == "guestfs":
        return GUESTFS
    if options.backend == "uml":
        if not (reason := _why_no_kernel(facts, proposal.steps, host)):
            return Choice("uml", "as asked")
        raise option_unsupported(
            facts.image.path, option="--backend uml", reason=reason, hint=_LEAVE_OUT
        )
    # Whether host tools can do it decides `--backend direct`, and comes first if nothing was asked
    # for.
    reason = _why_not(facts, proposal, host)
    if options.backend == "direct":
        if reason:
            raise option_unsupported(
                facts.image.path, option="--backend direct", reason=reason, hint=_LEAVE_OUT
            )
        return DIRECT
    # auto: host tools if they can and a kernel would not do it better. `reason` says why they do
    # not.
    if not reason and not (
        reason := _why_slower(proposal.steps, host) or _why_doubtful(facts, proposal.steps, host)
    ):
        return DIRECT
    return Choice("guestfs" if _why_no_kernel(facts, proposal.steps, host) else "uml", reason)


def _why_not(facts: Facts, proposal: Proposal, host: HostTools) -> str:
    steps = proposal.steps
    if other := [step.name for step in steps if step.needs_kernel]:
        return f"{other[0]} needs a kernel"
    if facts.table is not None and facts.table.sector_size != _SECTOR:
        return f"sfdisk cannot be told of sectors of {facts.table.sector_size} bytes"
    # What can be told from the facts comes before what has to be looked up on this machine.
    inside = next((reason for step in steps if (reason := _why_not_inside(facts, step))), "")
    inside = inside or _why_not_in_guest(proposal)
    missing = (host.why_no_tool(tool) for step in steps for tool in step.own_tools)
    return inside or next(filter(None, missing), "") or host.why_not_direct()


def _why_slower(steps: tuple[DiskStep, ...], host: HostTools) -> str:
    grown = [step for step in of_kind(GrowFilesystem, steps) if step.is_plain_ext]
    largest = max((step.new_size for step in grown), default=0)
    if largest <= _LARGE:
        return ""
    # Slow is better than not at all: without a kernel that starts soon enough, host tools do it.
    if host.why_no_kernel() and not (largest > _LARGE_FOR_APPLIANCE and host.has_appliance()):
        return ""
    return f"a kernel grows a file system of {format_size(largest)} sooner than resize2fs alone"


def _why_doubtful(facts: Facts, steps: tuple[DiskStep, ...], host: HostTools) -> str:
    """Why a kernel should grow it instead of resize2fs; "" if none needs to, or none is there."""
    # A kernel that grows a file system also shows that it can be mounted (ext_features.py).
    for step in of_kind(GrowFilesystem, steps):
        content = facts.contents.get(step.number)
        if (
            step.is_plain_ext
            and isinstance(content, ExtContent)
            and (found := doubt(content, step.new_size))
            and (not host.why_no_kernel() or host.has_appliance())
        ):
            return f"{found}: a kernel grows that more safely than resize2fs alone"
    return ""


def _why_no_kernel(facts: Facts, steps: tuple[DiskStep, ...], host: HostTools) -> str:
    """Why a kernel that runs as a program cannot do it with this machine's tools; "" if it can."""
    if facts.table is not None and facts.table.sector_size != _SECTOR:
        return f"its disks have sectors of {_SECTOR} bytes"
    missing = (host.why_no_tool(tool) for step in steps for tool in step.kernel_tools)
    return next(filter(None, missing), "") or host.why_no_kernel()


def _why_not_inside(facts: Facts, step: DiskStep) -> str:
    if isinstance(step, GrowFilesystem):
        content = facts.contents.get(step.number)
        if step.is_plain_ext:
            return _why_not_grown(content) if isinstance(content, ExtContent) else ""
        if isinstance(content, F2fsContent) and not content.clean:
            return "its F2FS was not unmounted in order: only a kernel knows what was written last"
    return ""


def _why_not_grown(content: ExtContent) -> str:
    if content.external_journal:
        return "its journal is on another partition, and a tool is shown one alone"
    if content.ro_compat & _BIGALLOC:
        return "resize2fs cannot safely grow a bigalloc file system"
    return ""


def _why_not_in_guest(proposal: Proposal) -> str:
    if not changes_guest(proposal):
        return ""
    return proposal.guest.closed if proposal.guest else "the guest's files were not looked at"
