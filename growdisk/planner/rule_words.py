"""A rule as people write it: 85%, 200G, 1h, 10%."""

from __future__ import annotations

import re

from growdisk.errors import bad_value
from growdisk.planner.goal import Rule
from growdisk.units import parse_goal_size

_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?([smhd])")
_NUMBER = re.compile(r"\d+(\.\d*)?")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def rule_of(
    when_used: str | None,
    max_size: str | None,
    min_interval: str | None,
    keep_host_free: str | None,
) -> Rule | None:
    """As people write it: 85%, 200G, 1h, 10%.

    UsageError. None if nothing is said; "", as a script's variable that was never set, says
    something, and wrongly.
    """
    if when_used is max_size is min_interval is keep_host_free is None:
        return None
    return Rule(
        share("--when-used", when_used),
        largest_size(max_size),
        seconds_of(min_interval),
        share("--keep-host-free", keep_host_free),
    )


def share(option: str, text: str | None) -> float | None:
    """85% (or 85) as 0.85."""
    if text is None:
        return None
    number = text.strip().removesuffix("%")
    # Everything that is not a number fails the test of the bounds below.
    value = float(number) if _NUMBER.fullmatch(number) else -1.0
    if not 0 <= value <= 100:
        raise bad_value(
            f"{option} {text}: that is no percentage",
            option,
            text,
            hint=f"write {option} 85%, from 0% to 100%",
        )
    return value / 100


def largest_size(text: str | None) -> int | None:
    if text is None:
        return None
    size = parse_goal_size(text)
    if size.relative:
        raise bad_value(
            f"--max-size {text}: a largest size does not begin with +",
            "--max-size",
            text,
            hint="write --max-size 200G",
        )
    return size.resolve(0)


def seconds_of(text: str | None, option: str = "--min-interval") -> float | None:
    if text is None:
        return None
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise bad_value(
            f"{option} {text}: that is no time", option, text, hint="write 90s, 15m, 1h or 2d"
        )
    return float(match[1]) * _SECONDS[match[2]]
