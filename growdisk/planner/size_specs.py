"""Sizes and shares as people write them: `sda1=60%`, `vg/home=+5G`, `60%`.

For the command line and for playbooks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from growdisk.errors import UsageError, bad_value
from growdisk.partitions.shares import Percent, Rest, Share, Size
from growdisk.planner.goal import Grow
from growdisk.units import parse_goal_size

_DISK = re.compile(r"(?:/dev/)?(?:[svh]d|xvd)(?P<letter>[a-z])\d")
_HINT = (
    "write --grow sda1=60% --grow sda3=rest, or --grow sda1=+5G to grow by, --grow sda1=40G "
    "to grow to"
)
_LV_HINT = "write --lv VG/LV, or --lv VG/LV=60%; --lv once for each volume"


def growth_requests(words: Sequence[str]) -> tuple[Grow, ...]:
    """`sda1=60%` and so on as requests. UsageError for what cannot be meant."""
    requests = tuple(
        Grow(name, share_of(word, share, "--grow", _HINT))
        for word in words
        for name, _, share in [word.partition("=")]
    )
    if sum(request.share.value for request in requests if isinstance(request.share, Percent)) > 100:
        raise UsageError("the shares of --grow are more than 100 % together", hint=_HINT)
    if sum(isinstance(request.share, Rest) for request in requests) > 1:
        raise UsageError("only one --grow can take the rest", hint=_HINT)
    return requests


def requests_by_disk(words: Sequence[str], others: int) -> list[list[str]]:
    """The requests for the first disk, then for each of the `others`, the first of which is sdb."""
    found: list[list[str]] = [[] for _ in range(others + 1)]
    for word in words:
        # Without --with no letter is looked at: vda1 and sda1 mean the one disk.
        match = _DISK.match(word) if others else None
        number = ord(match["letter"]) - ord("a") if match else 0
        if number > others:
            raise bad_value(
                f"cannot read --grow {word}",
                "--grow",
                word,
                hint="name its image with --with: the first is sdb, the next one sdc",
            )
        found[number].append(word)
    return found


def share_of(word: str, text: str, option: str, hint: str) -> Share:
    """`text` as a share; `word` is what it stands in, after `option`. UsageError with `hint`."""
    if text == "rest":
        return Rest()
    if text.endswith("%"):
        try:
            value = float(text[:-1])
        except ValueError:
            value = 0.0
        if 0 < value <= 100:
            return Percent(value)
    # Several shares in one option, with commas: the error below says how to write them.
    elif text and "," not in text:
        size = parse_goal_size(text)
        return Size(size.bytes, size.relative)
    raise bad_value(f"cannot read {option} {word}", option, word, hint)


def volume_requests(words: Sequence[str]) -> tuple[Grow, ...]:
    requests = []
    for name, equals, share in (word.partition("=") for word in words):
        if not name:
            raise bad_value(f"cannot read --lv ={share}", "--lv", f"={share}", hint=_LV_HINT)
        word = f"{name}={share}"
        requests.append(Grow(name, share_of(word, share, "--lv", _LV_HINT) if equals else Rest()))
    return tuple(requests)


def parse_percent(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not text.endswith("%") or not 0 <= value <= 100:
        raise bad_value(
            f"cannot read --lv-share {text}",
            "--lv-share",
            text,
            hint="write a percentage, such as --lv-share 60%",
        )
    return value
