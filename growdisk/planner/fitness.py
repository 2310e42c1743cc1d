"""Refuses file systems that no tool and no kernel of this machine can grow at rest.

That is before anything is touched. What a running guest grows itself is not checked here: it has
the tools, the kernel and the devices that it needs.
"""

from __future__ import annotations

from growdisk.filesystems.content import (
    BtrfsContent,
    Content,
    ExtContent,
    F2fsContent,
    JournalContent,
    XfsContent,
)
from growdisk.filesystems.ext_features import (
    grows_far,
    has_feature,
    is_unusual,
    kernel_can_mount,
    unknown_to_tools,
)
from growdisk.filesystems.ext_growth import descriptor_blocks_missing
from growdisk.planner.facts import Facts
from growdisk.planner.failures import CannotGrow
from growdisk.planner.host_tools import HostTools
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.registry import DiskStep
from growdisk.steps.step_traits import of_kind

_NEWER = "grow it on a machine with a newer e2fsprogs, or from inside the guest"
_INSIDE = "grow it from inside the guest"


def refuse_unfit(facts: Facts, steps: tuple[DiskStep, ...], host: HostTools) -> None:
    """CannotGrow, which says what it is."""
    for step in of_kind(GrowFilesystem, steps):
        # A step that has nothing left to grow is only there to be skipped.
        if step.new_size > step.old_size:
            content = facts.content_with(step.uuid, step.number)
            reason, hint = _unfit(facts, content, step.new_size, host)
            if reason:
                raise CannotGrow(facts.image.path, step.number, reason=reason, hint=hint)


def _unfit(
    facts: Facts, content: Content | None, new_size: int, host: HostTools
) -> tuple[str, str]:
    match content:
        case ExtContent():
            return (
                _never_written(content)
                or _absent_journal(facts, content)
                or _unknown_features(content, host)
                or _too_far_unmounted(content, new_size)
                or ("", "")
            )
        case XfsContent() | BtrfsContent() | F2fsContent():
            return content.unfit, _INSIDE
    return "", ""


def _never_written(content: ExtContent) -> tuple[str, str] | None:
    if has_feature(content, "read-only"):
        return (
            "its ext says that nobody may write to it (read-only)",
            "tune2fs -O ^read-only, if that is no more so",
        )
    if has_feature(content, "shared_blocks"):
        return (
            "files share blocks in it, so that nobody may write to it (shared_blocks)",
            "e2fsck -E unshare_blocks",
        )
    return None


def _absent_journal(facts: Facts, content: ExtContent) -> tuple[str, str] | None:
    wanted = content.external_journal
    if not wanted or any(
        isinstance(c, JournalContent) and c.uuid == wanted for c in facts.all_contents()
    ):
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


def _too_far_unmounted(content: ExtContent, new_size: int) -> tuple[str, str] | None:
    """Why only a kernel could grow it so far, and none can mount it; None if it is possible."""
    # resize2fs has to move what is in the way of the new group descriptors. So far beyond the old
    # size it fails at that, or loses the resize_inode.
    if (
        not grows_far(content, new_size)
        # A kernel that has it mounted puts the new descriptors elsewhere (meta_bg).
        or kernel_can_mount(content)
        or not has_feature(content, "resize_inode")
    ):
        return None
    if not descriptor_blocks_missing(content, new_size):
        return None
    reason = (
        "it becomes so much larger that only a kernel that mounts it has room for its new "
        "group descriptors, and "
    )
    return (
        f"{reason}no kernel that growdisk starts can mount it",
        f"{_INSIDE}, or let it grow by less",
    )
