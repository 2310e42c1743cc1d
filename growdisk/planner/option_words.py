"""Values of options as people write them: `sda1=60%`, `vg/home=+5G`, 85%, 200G, 1h.

For the command line, playbooks and files of rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from growdisk.errors import UsageError, bad_value
from growdisk.partitions.shares import Percent, Rest, Share
from growdisk.planner.goal import Grow, Rule
from growdisk.planner.option_table import as_flag, as_key
from growdisk.units import parse_goal_size

_DISK = re.compile(
    r"(?:/dev/)?(?:(?:[svh]d|xvd)(?P<letter>[a-z])|"
    r"(?:nvme(?P<nvme>\d{1,9})n|mmcblk(?P<card>\d{1,9})p))\d"
)
Written = Callable[..., str]


def growth_requests(words: Sequence[str], written: Written = as_flag) -> tuple[Grow, ...]:
    """`sda1=60%` and so on as requests. UsageError, with options as `written`, for others."""
    some = [written("grow", f"sda1={share}") for share in ("60%", "rest", "+5G", "40G")]
    hint = f"write {some[0]} or {some[1]}, or {some[2]} to grow by, {some[3]} to grow to"
    requests = tuple(
        Grow(name, share_of(word, share, "grow", hint, written))
        for word in words
        for name, _, share in [word.partition("=")]
    )
    if sum(request.share.value for request in requests if isinstance(request.share, Percent)) > 100:
        raise UsageError(f"the shares of {written('grow')} are more than 100 % together", hint)
    if sum(isinstance(request.share, Rest) for request in requests) > 1:
        raise UsageError(f"only one {written('grow')} can take the rest", hint)
    return requests


def requests_by_disk(words: Sequence[str], others: int) -> list[list[str]]:
    """The requests for the first disk, then for each of the `others`, the first of which is sdb."""
    found: list[list[str]] = [[] for _ in range(others + 1)]
    for word in words:
        # Without --with no letter is looked at: vda1 and sda1 mean the one disk.
        number = disk_number(word) if others else 0
        if number > others:
            raise bad_value(
                f"cannot read --grow {word}",
                "--grow",
                word,
                hint="name its image with --with: the first is sdb, the next one sdc",
            )
        found[number].append(word)
    return found


def disk_number(word: str) -> int:
    """Which disk a partition's name begins with: 0 for sda, vda, nvme0n1, or no disk at all."""
    match = _DISK.match(word)
    if match is None:
        return 0
    if letter := match["letter"]:
        return ord(letter) - ord("a")
    return int(match["nvme"] or match["card"])


def share_of(word: str, text: str, name: str, hint: str, written: Written) -> Share:
    """`text` as a share; `word` is what it stands in, of the option `name`. UsageError."""
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
        return parse_goal_size(text)
    raise _unreadable(name, word, written, hint)


def volume_requests(words: Sequence[str], written: Written = as_flag) -> tuple[Grow, ...]:
    hint = f"write {written('lv', 'VG/LV')}, or {written('lv', 'VG/LV=60%')}, for each volume"
    requests = []
    for word in words:
        name, equals, share = word.partition("=")
        if not name:
            raise _unreadable("lv", word, written, hint)
        requests.append(
            Grow(name, share_of(word, share, "lv", hint, written) if equals else Rest())
        )
    return tuple(requests)


def parse_percent(text: str | None, written: Written = as_flag) -> float | None:
    if text is None:
        return None
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not text.endswith("%") or not 0 <= value <= 100:
        hint = f"write a percentage, such as {written('lv_share', '60%')}"
        raise _unreadable("lv_share", text, written, hint)
    return value


_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?([smhd])")
_NUMBER = re.compile(r"\d+(\.\d*)?")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def rule_of(
    when_used: str | None,
    max_size: str | None,
    min_interval: str | None,
    keep_host_free: str | None,
    *,
    written: Written = as_flag,
) -> Rule | None:
    """As people write it: 85%, 200G, 1h, 10%.

    UsageError. None if nothing is said; "", as a script's variable that was never set, says
    something, and wrongly.
    """
    if when_used is max_size is min_interval is keep_host_free is None:
        return None
    return Rule(
        share("when_used", when_used, written),
        largest_size(max_size, written),
        seconds_of(min_interval, "min_interval", written),
        share("keep_host_free", keep_host_free, written),
    )


def share(name: str, text: str | None, written: Written = as_key) -> float | None:
    """85% (or 85) as 0.85; `name` is the option that it stands in, and `written` writes it."""
    if text is None:
        return None
    number = text.strip().removesuffix("%").strip()
    # Everything that is not a number fails the test of the bounds below.
    value = float(number) if _NUMBER.fullmatch(number) else -1.0
    # 0.85 may be meant for 85%, as the metrics have it: such a disk would grow in each round.
    if not 0 <= value <= 100 or (number == text.strip() and 0 < value < 1):
        hint = f"write {written(name, '85%')}, from 0% to 100%"
        raise _wrong(name, text, "that is not a percentage", written, hint)
    return value / 100


def largest_size(text: str | None, written: Written = as_key) -> int | None:
    if text is None:
        return None
    size = parse_goal_size(text)
    if size.relative:
        problem, hint = "a largest size does not begin with +", written("max_size", "200G")
        raise _wrong("max_size", text, problem, written, f"write {hint}")
    return size.resolve(0)


def seconds_of(
    text: str | None, name: str = "min_interval", written: Written = as_key
) -> float | None:
    if text is None:
        return None
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise _wrong(name, text, "that is not a time", written, "write 90s, 15m, 1h or 2d")
    return float(match[1]) * _SECONDS[match[2]]


def _unreadable(name: str, text: str, written: Written, hint: str) -> UsageError:
    return bad_value(f"cannot read {written(name, text)}", written(name), text, hint)


def _wrong(name: str, text: str, problem: str, written: Written, hint: str) -> UsageError:
    return bad_value(f"{written(name)} {text}: {problem}", written(name), text, hint)
