"""Swap that is encrypted with another key at each start: nothing on the disk tells it, the guest's crypttab does.

    cryptswap  PARTUUID=…  /dev/urandom  swap,cipher=aes-xts-plain64

It is made anew at each start, so that it may be given up, or be anywhere: only its names must stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from growdisk.fast_dataclass import replace
from growdisk.filesystems.content import SwapContent
from growdisk.filesystems.file_tree import Unknown
from growdisk.guest_config.crypttab import is_random_swap
from growdisk.guest_config.places import CRYPTTABS
from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.guest_config.text import decode
from growdisk.guest_systems.look import Home, Look
from growdisk.partitions.table import BIOS_BOOT, Partition, Role
from growdisk.planner.facts import Facts

_CONTENT = SwapContent("swap", random_key=True)


def with_random_swap(facts: Facts, look: Callable[[], Look]) -> Facts:
    """With what a guest's crypttab says of partitions of unknown content. `look` is asked if there are any."""
    unknown = [part for part in facts.table.partitions if _is_unknown(facts, part)] if facts.table else []
    if not unknown:
        return facts
    tables = [text for home in look().systems for text in _crypttabs(home)]
    found = [part.number for part in unknown if any(is_random_swap(text, _named(facts, part)) for text in tables)]
    return replace(facts, contents=facts.contents | dict.fromkeys(found, _CONTENT))


def _is_unknown(facts: Facts, part: Partition) -> bool:
    return part.role is not Role.EXTENDED and part.type_code != BIOS_BOOT and part.number not in facts.contents


def _named(facts: Facts, part: Partition) -> RemovedPartition:
    assert facts.table is not None
    partuuid = part.guid or f"{facts.table.disk_id.removeprefix('0x')}-{part.number:02x}"
    return RemovedPartition(part.number, partuuid=partuuid, partlabel=part.name or None)


def _crypttabs(home: Home) -> Iterator[str]:
    for path in CRYPTTABS:
        for match in home.paths.matching(path):
            try:
                if (place := home.paths.find(match)) is not None:
                    yield decode(place.tree.read(place.inode))
            except Unknown:
                continue
