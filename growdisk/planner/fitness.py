"""Refused before anything is touched: file systems that no tool and no kernel of this machine can grow at rest.

What a running guest grows itself is not asked here: it has the tools, the kernel and the devices that it needs.
"""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.filesystems.content import (
    BtrfsContent,
    Content,
    ExtContent,
    F2fsContent,
    JournalContent,
    LuksContent,
    PhysicalVolumeContent,
    XfsContent,
)
from growdisk.filesystems.ext_features import is_unusual, unknown_to_tools
from growdisk.planner.facts import Facts
from growdisk.planner.failures import CannotGrow
from growdisk.planner.guest_plan import content_of
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.registry import DiskStep

_NEWER = "grow it on a machine with a newer e2fsprogs, or from inside the guest"
_INSIDE = "grow it from inside the guest"


def refuse_unfit(facts: Facts, steps: tuple[DiskStep, ...]) -> None:
    """CannotGrow, which says what it is."""
    for step in steps:
        if isinstance(step, GrowFilesystem) and step.new_size > step.old_size:
            reason, hint = _unfit(facts, content_of(facts, step))
            if reason:
                raise CannotGrow(facts.image.path, step.number, reason=reason, hint=hint)


def _unfit(facts: Facts, content: Content | None) -> tuple[str, str]:
    match content:
        case ExtContent():
            return _absent_journal(facts, content) or _unknown_features(content) or ("", "")
        case XfsContent() | BtrfsContent() | F2fsContent():
            return content.unfit, _INSIDE
    return "", ""


def _absent_journal(facts: Facts, content: ExtContent) -> tuple[str, str] | None:
    wanted = content.external_journal
    if not wanted or any(isinstance(c, JournalContent) and c.uuid == wanted for c in _all(facts)):
        return None
    return (
        f"its journal is on another device (UUID {wanted}), which is not on this disk",
        f"{_INSIDE}, or take its journal away there first: tune2fs -O ^has_journal",
    )


def _unknown_features(content: ExtContent) -> tuple[str, str] | None:
    if not is_unusual(content):
        return None
    from growdisk.backends.doctor import e2fsprogs_version

    version = e2fsprogs_version()
    if not (unknown := unknown_to_tools(content, version)):
        return None
    number = ".".join(map(str, version))
    words = f"it has {' and '.join(unknown)}, which neither this machine's e2fsprogs ({number}) nor its kernels know"
    return words, _NEWER


def _all(facts: Facts) -> Iterator[Content]:
    for content in facts.contents.values():
        yield from _with_inner(content)


def _with_inner(content: Content | None) -> Iterator[Content]:
    match content:
        case None:
            return
        case LuksContent(inside=inside):
            yield from _with_inner(inside)
        case PhysicalVolumeContent(volumes=volumes):
            for _, inner in volumes:
                yield from _with_inner(inner)
    yield content
