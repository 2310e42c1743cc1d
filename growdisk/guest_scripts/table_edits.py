"""Partition tables in the words of the tools that a guest may have: listings, edits and keystrokes.

Pure. All in sectors, ends inclusive where a tool wants them so. A tool is only trusted to write:
what it wrote is compared with `listing`, which the scripts make of the disk with their own reader.
"""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.guest_scripts.script_plan import GuestPlan
from growdisk.partitions.table import Partition, PartitionTable, Role

_EXTENDED, _LINUX, _SWAP = "5", "83", "82"
_EXTENDED_LBA = "f"


def listing(table: PartitionTable) -> str:
    """A line a partition: "number start size type boot", on GPT "... type guid attributes"."""
    return "\n".join(_line(table, part) for part in table.partitions)


def kernel_listing(table: PartitionTable) -> str:
    """Lines "number start size" as a kernel shows them: an extended partition has no size."""
    lines = []
    for part in table.partitions:
        start, size = _sectors(table, part)
        lines.append(f"{part.number} {start} {'-' if part.role is Role.EXTENDED else size}")
    return "\n".join(lines)


def sfdisk_edits(plan: GuestPlan) -> str:
    """A sed script that turns the output of `sfdisk -d` into the planned table.

    Everything else stays as it was.
    """
    # With the last-lba of the smaller disk sfdisk fails; without the line it takes the new end.
    edits = ["/^last-lba:/d"]
    # "/dev/sda5 : start= 2048, size= 4096, type=82": a digit before the number would make it the
    # end of another one (15 of 5).
    edits += [f"/^[^:#]*[^0-9]{part.number} *:/d" for part in plan.removed]
    for part in _changed(plan):
        start, size = _sectors(plan.after, part)
        place = rf"^\([^:#]*[^0-9]{part.number} *: *start= *\)[0-9]*\(, *size= *\)[0-9]*"
        edits.append(rf"s/{place}/\1{start}\2{size}/")
    return "\n".join(edits)


def parted_steps(plan: GuestPlan) -> list[tuple[str | int, ...]]:
    """The words of parted's commands, in sectors.

    What goes is removed (what moves too), the target grows, then what moves is made again.
    """
    steps: list[tuple[str | int, ...]] = [("rm", part.number) for part in _leaving(plan)]
    for part in _grown_in_place(plan):
        steps.append(("resizepart", part.number, f"{_last(plan.after, part)}s"))
    for part in plan.moved:
        start, end = f"{_sectors(plan.after, part)[0]}s", f"{_last(plan.after, part)}s"
        # parted makes the type from a file system's name; of an extended partition it wants none.
        name = "linux-swap" if part.type_code == _SWAP else "ext2"
        content = () if part.role is Role.EXTENDED else (name,)
        steps.append(("unit", "s", "mkpart", part.role.value, *content, start, end))
        if part.role is Role.EXTENDED:
            lba = "on" if part.type_code == _EXTENDED_LBA else "off"
            steps.append(("set", part.number, "lba", lba))
        if part.bootable:
            steps.append(("set", part.number, "boot", "on"))
    return steps


def is_for_fdisk(plan: GuestPlan) -> bool:
    """Whether fdisk can do it, by deleting one partition and making it again.

    It cannot for an extended partition that keeps others, nor keep a GPT's UUIDs.
    """
    return (
        plan.before.kind == "mbr"
        and _grown_in_place(plan) == [plan.goal]
        and plan.goal.role is Role.PRIMARY
    )


def fdisk_keys(plan: GuestPlan, *, busybox: bool) -> str:
    """Keystrokes for fdisk on an MBR, as printf's format; "q" where fdisk is not used.

    Questions with only one possible answer are not asked, so the keys follow what is in the table
    at each moment.
    """
    if not is_for_fdisk(plan):
        return r"q\n"
    keys = _FdiskKeys(plan, busybox=busybox)
    return "".join(rf"{key}\n" for key in keys.all())


class _FdiskKeys:
    def __init__(self, plan: GuestPlan, *, busybox: bool) -> None:
        self._plan, self._busybox = plan, busybox
        self._present = {part.number for part in plan.before.partitions}

    def all(self) -> Iterator[str]:
        if self._busybox:
            yield "c"  # its DOS mode, the default, leaves 63 sectors before each logical partition
        for part in [*_leaving(self._plan), self._plan.goal]:
            yield from self._delete(part)
        for part in [self._plan.goal, *self._plan.moved]:
            yield from self._make(part)
        yield "w"

    def _delete(self, part: Partition) -> Iterator[str]:
        yield "d"
        # fdisk does not ask which one if there is only one.
        if len(self._present) > 1:
            yield str(part.number)
        self._present.discard(part.number)

    def _make(self, part: Partition) -> Iterator[str]:
        # fdisk only asks what is left open: with four primaries no kind, with three no number.
        primaries = sum(number <= 4 for number in self._present)
        yield "n"
        if primaries < 4:
            yield {Role.PRIMARY: "p", Role.EXTENDED: "e", Role.LOGICAL: "l"}[part.role]
        if part.role is not Role.LOGICAL and primaries < 3:
            yield str(part.number)
        yield str(_sectors(self._plan.after, part)[0])
        yield str(_last(self._plan.after, part))
        self._present.add(part.number)
        yield from self._restore_type(part)

    def _restore_type(self, part: Partition) -> Iterator[str]:
        # The type that fdisk gives by itself: then its question is not needed.
        default = _EXTENDED if part.role is Role.EXTENDED else _LINUX
        if part.type_code != default:
            yield "t"
            yield from self._number_of(part, always=False)
            yield part.type_code
        if part.bootable:
            yield "a"
            yield from self._number_of(part, always=self._busybox)

    def _number_of(self, part: Partition, *, always: bool) -> Iterator[str]:
        if always or len(self._present) > 1:
            yield str(part.number)


def _grown_in_place(plan: GuestPlan) -> list[Partition]:
    """The target, after the extended partition around it, if there is one."""
    moved = {part.number for part in plan.moved}
    # The extended partition first: a logical one cannot end outside of it.
    grown = [part for part in _changed(plan) if part.number not in moved]
    return sorted(grown, key=lambda part: (part.role is not Role.EXTENDED, part.number))


def _leaving(plan: GuestPlan) -> list[Partition]:
    """What is deleted, logical ones first."""
    # What is in a deleted extended partition (5 and more) has gone before it (at most 4).
    gone = {part.number: part for part in [*plan.removed, *plan.moved]}
    return [gone[number] for number in sorted(gone, reverse=True)]


def _changed(plan: GuestPlan) -> list[Partition]:
    return [
        new
        for new in plan.after.partitions
        if (old := plan.before.by_number(new.number)) is None
        or (old.start, old.end) != (new.start, new.end)
    ]


def _sectors(table: PartitionTable, part: Partition) -> tuple[int, int]:
    return part.start // table.sector_size, part.size // table.sector_size


def _last(table: PartitionTable, part: Partition) -> int:
    return part.end // table.sector_size - 1


def _line(table: PartitionTable, part: Partition) -> str:
    start, size = _sectors(table, part)
    if table.kind == "mbr":
        return f"{part.number} {start} {size} {part.type_code} {int(part.bootable)}"
    guid = (part.guid or "").upper()
    return f"{part.number} {start} {size} {part.type_code} {guid} {part.attributes:016x}"
