"""Space that is not free though no partition has it: nothing grows into it or changes it."""

from __future__ import annotations

from growdisk.partitions.growth_values import Grown, NothingToDo, NotPossible
from growdisk.partitions.table import Claim, Partition, PartitionTable
from growdisk.units import ByteRange, format_size

_PROTECT = "make its MBR a protective one again (gdisk DISK, then x, n, w), if nothing starts by it"


def before_claims(table: PartitionTable, target: Partition, limit: int) -> int:
    """`limit`, or where the first claim after `target` begins."""
    return min([limit, *(max(claim.start, target.end) for claim in claims_behind(table, target))])


def claims_behind(table: PartitionTable, target: Partition) -> list[Claim]:
    return sorted((c for c in table.claims if c.end > target.end), key=lambda claim: claim.start)


def refuse_mirrored(table: PartitionTable, part: Partition) -> NotPossible | None:
    """Refuse a partition that an MBR beside the GPT names too: afterwards the two would differ."""
    claim = next((c for c in table.claims if c.mirrors and c.range.overlaps(part.range)), None)
    if claim is None:
        return None
    return NotPossible(
        f"partition {part.number} is named by {claim.what} as well: this is a hybrid of GPT and "
        "MBR, and a firmware that goes by the MBR would still see the old partition",
        f"let one grow that only the GPT names (--partition N), or {_PROTECT}",
    )


def refuse_claimed(
    table: PartitionTable, growth: Grown | NothingToDo, target: Partition, *, worth: int
) -> NotPossible | None:
    """NotPossible where more space than was gained lies after a claim."""
    behind = claims_behind(table, target)
    if not behind:
        return None
    # Growing up to the claim is all right if nothing worth having lies after it.
    beyond = sum(free.length for free in table.free_ranges() if free.start >= behind[0].end)
    gain = growth.target.end - target.end if isinstance(growth, Grown) else 0
    claim = behind[0]
    # A claim to the disk's end and beyond it leaves nothing: saying only "nothing to do" would not
    # tell the user why.
    if claim.end > table.disk_size and claim.start < target.end + worth:
        return _claimed(claim, "which is all that lies behind it")
    if beyond < worth or beyond <= gain:
        return None
    # The claim may be the MBR's name for a partition of a hybrid: then that is the better reason.
    for part in table.partitions:
        if part.range.overlaps(claim.range) and (refusal := refuse_mirrored(table, part)):
            return refusal
    return _claimed(claim, f"which lie before {format_size(beyond)} of free space")


def _claimed(claim: Claim, where: str) -> NotPossible:
    return NotPossible(
        f"{claim.what} speaks of bytes {claim.start} to {claim.end}, {where}",
        "growdisk leaves alone what it does not know: see what made that entry, and what it is for",
    )


def refuse_broken_claims(before: PartitionTable, growth: Grown | NothingToDo) -> NotPossible | None:
    """The last look at a new table: no claim is grown into, and what is mirrored stays."""
    if isinstance(growth, NothingToDo):
        return None
    for old in before.partitions:
        new = growth.table.by_number(old.number)
        if (new is None or new.range != old.range) and (refusal := refuse_mirrored(before, old)):
            return refusal
    for new in growth.table.partitions:
        known = before.by_number(new.number)
        for claim in before.claims:
            # A partition may overlap a claim already. It only may not overlap more of it than
            # before.
            if _overlap(new.range, claim.range) > (
                _overlap(known.range, claim.range) if known else 0
            ):
                return NotPossible(
                    f"partition {new.number} would lie on what {claim.what} speaks of",
                    "let it grow by less, or leave it where it is",
                )
    return None


def _overlap(one: ByteRange, two: ByteRange) -> int:
    return max(0, min(one.end, two.end) - max(one.start, two.start))
