"""Random disks and random requests, and what must hold of any plan that is made for them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from growdisk.partitions.blocks import BlockerPolicy
from growdisk.partitions.growth import Grown, Growth
from growdisk.partitions.shares import Percent, Rest, Share, plan_shares
from growdisk.partitions.table import Partition, PartitionTable, Role
from growdisk.units import GiB, MiB, SizeSpec, align_down
from tests.unit.partitions.disks import make_disk, table_of
from tests.unit.partitions.layouts import write_random_mbr


@dataclass(frozen=True)
class Request:
    """`size` is the disk's new one."""

    shares: Mapping[int, Share]
    size: int
    policy: BlockerPolicy

    def plan(self, table: PartitionTable) -> Growth:
        return plan_shares(table, self.shares, self.size, self.policy)


def random_disk(path: Path, dice: random.Random) -> PartitionTable:
    """1 to 12 partitions on a sparse disk, MBR or GPT."""
    if dice.random() < 0.6:
        write_random_mbr(path, GiB, dice, most_logicals=8)
    else:
        _random_gpt(path, dice)
    return table_of(path)


def _random_gpt(path: Path, dice: random.Random) -> None:
    script, cursor = "label: gpt\n", 2048
    for number in dice.sample(range(1, 129), dice.randint(1, 12)):
        start = cursor + dice.choice((0, 0, 1, 2048, 30_000))
        size = dice.randrange(8000, 120_000)
        kind, name = dice.choice("LSU"), dice.choice(("root", "größe", "数据", "")) + str(number)
        bit = dice.randrange(48, 64)
        script += (
            f'/dev/x{number}: start={start}, size={size}, type={kind}, name="{name}", '
            f'attrs="GUID:{bit}"\n'
        )
        cursor = start + size
    make_disk(path, (cursor + 40 + dice.choice((0, 2048, 50_000))) * 512, script)


def random_request(table: PartitionTable, dice: random.Random) -> Request:
    growable = [p for p in table.partitions if p.role is not Role.EXTENDED]
    targets = dice.sample(growable, min(len(growable), dice.choice((1, 1, 1, 1, 2, 3))))
    numbers = [p.number for p in growable if p not in targets]
    kinds = {n: dice.choice(("swap", "swap", "ext4", "ntfs")) for n in numbers}
    consents = {n: dice.choice(("move", "move", "delete", "no")) for n in numbers}
    swap_moves = dice.choice((False, True, False))
    policy = BlockerPolicy(
        kinds,
        delete=frozenset(n for n, c in consents.items() if c == "delete"),
        move=frozenset(n for n, c in consents.items() if c == "move"),
        swap_moves=swap_moves,
    )
    shares: dict[int, Share] = {p.number: _share(dice, len(targets)) for p in targets[1:]}
    shares[targets[0].number] = (
        Rest() if len(targets) > 1 or dice.random() < 0.7 else _share(dice, 1)
    )
    return Request(
        shares, table.disk_size + dice.choice((0, 5, 100 * MiB + 3 * 512, GiB, 3 * GiB)), policy
    )


def _share(dice: random.Random, among: int) -> Share:
    if dice.random() < 0.5:
        return Percent(dice.randint(1, 100 // among))
    return SizeSpec(dice.randint(1, 150) * MiB, relative=True)


def assert_sound(table: PartitionTable, request: Request, growth: Grown) -> None:
    """Whatever was asked, these hold."""
    new = growth.table
    moved, removed = {p.number for p in growth.moved}, {p.number for p in growth.removed}
    targets = {growth.target.number, *(p.number for p in growth.others)}
    assert targets == set(request.shares)
    assert {p.number for p in new.partitions} == {p.number for p in table.partitions} - removed
    _assert_apart(new)
    for part in table.partitions:
        now = new.by_number(part.number)
        if now is None:
            assert _may_go(part, table, request.policy), part
            continue
        assert replace(now, start=0, end=0) == replace(part, start=0, end=0)
        if part.number not in moved:
            assert now.start == part.start
        if part.number in moved:
            assert now.start > part.start and (now.start - part.start) % MiB == 0
            assert part.number in targets or _may_move(part, table, request.policy), part
        if part.number in targets:
            assert now.size >= part.size
            # What was whole blocks stays so, even if it does not start at one.
            whole = part.size % 4096 == now.size % 4096 == 0 and -now.end % MiB < 4096
            assert now.size == part.size or now.end % MiB == 0 or whole
        elif part.role is Role.EXTENDED and part.number not in moved:
            assert now.end >= part.end
        else:
            assert now.size == part.size


def _assert_apart(table: PartitionTable) -> None:
    limit = table.usable_end + (MiB if table.kind == "mbr" else 0)
    top = sorted((p for p in table.partitions if p.role is not Role.LOGICAL), key=lambda p: p.start)
    assert all(one.end <= two.start for one, two in pairwise(top))
    assert all(p.end <= max(limit, align_down(table.disk_size, 512)) for p in top)
    logicals = sorted(table.logicals, key=lambda p: p.start)
    if logicals:
        assert table.extended is not None
        assert table.extended.start < logicals[0].start and logicals[-1].end <= table.extended.end
        assert all(one.end < two.start for one, two in pairwise(logicals)), (
            "there is no room for a boot record"
        )


def assert_nothing_left(table: PartitionTable, request: Request, growth: Grown) -> None:
    """One partition that takes all leaves nothing free after it, and a second plan does nothing."""
    again = request.plan(growth.table)
    assert not isinstance(again, Grown), again
    behind = [r for r in growth.table.free_ranges() if r.start == growth.target.end]
    assert not behind, behind


def _may_go(part: Partition, table: PartitionTable, policy: BlockerPolicy) -> bool:
    swap = policy.kinds.get(part.number) == "swap" and not policy.swap_moves
    if part.role is Role.EXTENDED:
        return all(_may_go(p, table, policy) for p in table.logicals)
    return swap or part.number in policy.delete


def _may_move(part: Partition, table: PartitionTable, policy: BlockerPolicy) -> bool:
    if part.role is Role.EXTENDED:
        return all(_may_move(p, table, policy) for p in table.logicals)
    return part.number in policy.move or policy.kinds.get(part.number) == "swap"
