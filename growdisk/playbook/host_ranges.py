"""web[01:10] and db[a:c] as the hosts that they stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from growdisk.host.yaml_reader import BadFile, Place

_RANGE = re.compile(
    r"(?P<before>.*?)\[(?P<first>\d+|[A-Za-z]):(?P<last>\d+|[A-Za-z])(?::(?P<step>\d+))?\](?P<after>.*)"
)
_MOST = 10_000


def spelled_out(name: str, place: Place) -> Iterator[str]:
    match = _RANGE.fullmatch(name)
    if match is None:
        yield name
        return
    for middle in _middles(match["first"], match["last"], int(match["step"] or 1), place):
        yield from spelled_out(f"{match['before']}{middle}{match['after']}", place)


def _middles(first: str, last: str, step: int, place: Place) -> Iterator[str]:
    numbers = first.isdigit() and last.isdigit()
    low, high = (int(first), int(last)) if numbers else (ord(first), ord(last))
    if first.isdigit() != last.isdigit() or low > high or step < 1 or high - low > _MOST:
        raise BadFile(f"[{first}:{last}] is no range of hosts", place=place, hint="write [01:10], or [a:f]")
    for value in range(low, high + 1, step):
        yield str(value).zfill(len(first)) if numbers else chr(value)
