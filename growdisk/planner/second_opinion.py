"""What blkid says of the same bytes as growdisk's own readers. Pure.

Where the two see the same, the plan may go on. Where they differ, one of them is wrong about
somebody's data; and where blkid sees what growdisk does not know, nobody here knows what may be
done to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import Content, PhysicalVolumeContent, SwapContent
from growdisk.filesystems.foreign import MEMBER_KINDS
from growdisk.planner.facts import Facts
from growdisk.planner.foreign import INSIDE, content_in_words
from growdisk.planner.refusals import belongs_to_others

if TYPE_CHECKING:
    from growdisk.host.blkid import BlkidResult

_OF_A_WHOLE = MEMBER_KINDS | {"zfs_member", "bcache", "jbd"}
_HINT = (
    "look at it with wipefs (it changes nothing without -a), and take away the signature that "
    "is not true"
)


@dataclass(frozen=True)
class TouchedPart:
    """A part of the disk that the plan touches.

    `own` is what growdisk reads there; `number` 0 is the whole disk. `given_up`: by its number, not
    because it looks like swap. `grown`: it is looked at as it will be, up to its new end, where an
    old signature might stand.
    """

    name: str
    number: int
    own: Content | None = None
    given_up: bool = False
    grown: bool = False


def refuse_disagreement(facts: Facts, part: TouchedPart, verdict: BlkidResult) -> None:
    """belongs-to-others if the plan must not be carried out."""
    if reason := _objection(facts, part, verdict):
        raise belongs_to_others(facts.image.path, part.number, reason, _hint(part, verdict))


def _objection(facts: Facts, part: TouchedPart, verdict: BlkidResult) -> str:
    # No answer is no agreement.
    if verdict.failed:
        return f"blkid came to no result on {part.name}"
    # The disk that has a table, with all its partitions.
    if part.number == 0 and facts.table is not None:
        return _objection_to_disk(facts, verdict)
    if verdict.candidates:
        return f"blkid finds {' and '.join(verdict.candidates)} at once on {part.name}"
    # By its number, whatever is in it: only what belongs to a larger whole is an objection then.
    if part.given_up:
        return _belonging(part, verdict)
    # Swap with a random key is noise without a header: only the guest's crypttab tells.
    random = isinstance(part.own, SwapContent) and part.own.random_key
    own = part.own.kind if part.own and not random else ""
    if verdict.kind == own:
        return ""
    found = verdict.kind or "nothing that it knows"
    if part.grown:
        return (
            f"up to its new end, blkid would find {found} on {part.name}, which holds "
            f"{content_in_words(part.own)}"
        )
    return f"blkid finds {found} on {part.name}, where growdisk finds {content_in_words(part.own)}"


def _objection_to_disk(facts: Facts, verdict: BlkidResult) -> str:
    """File systems are what the partitions are for; an array of disks goes before all of them."""
    known = {content.kind for content in facts.contents.values()}
    # What growdisk itself has found on the whole disk is no news.
    for kind in (verdict.kind, *verdict.candidates):
        if kind not in known and (kind in _OF_A_WHOLE or (kind and verdict.usage == "raid")):
            return f"blkid finds that the whole disk belongs to something larger: {kind}"
    return ""


def _belonging(part: TouchedPart, verdict: BlkidResult) -> str:
    own = isinstance(part.own, PhysicalVolumeContent)
    # crypto_LUKS is among them for its second header. LVM is raid for blkid, and growdisk knows it.
    if verdict.kind in _OF_A_WHOLE - {"crypto_LUKS"} or (verdict.usage == "raid" and not own):
        return f"blkid finds that {part.name} belongs to something larger: {verdict.kind}"
    return ""


def _hint(part: TouchedPart, verdict: BlkidResult) -> str:
    if verdict.failed:
        return f"run the same command again; if that ends so as well, {INSIDE}"
    if verdict.kind in _OF_A_WHOLE or verdict.usage == "raid":
        return INSIDE
    return _HINT
