"""What a user gave, by the names of the table of options, and the goal that it makes.

The command line and the tasks of playbooks both come through here. They write options in different
ways (`--swap move`, `swap: move`), and a message writes them as its user does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from growdisk.errors import UsageError, bad_value, options_conflict
from growdisk.partitions.shares import Percent, Rest, Share
from growdisk.planner.goal import (
    Backend,
    Goal,
    Grow,
    OtherDisk,
    Preallocation,
    Rule,
    RunOptions,
    SnapshotChoice,
    SwapPolicy,
)
from growdisk.planner.option_table import BY_RULE, SECTOR_SIZES, SHARED, as_flag, as_key
from growdisk.units import parse_goal_size

if TYPE_CHECKING:
    from growdisk.qcow2.probe import ImageFormat


class GivenValues:
    """Values by the names of options; one that is missing has its default of the table.

    `written` writes an option, perhaps with a value, as the user does. `asked_by` begins an error:
    "" or the name of a task.
    """

    def __init__(
        self,
        values: Mapping[str, object],
        written: Callable[..., str] = as_flag,
        asked_by: str = "",
    ) -> None:
        self._values, self.written, self.asked_by = values, written, asked_by

    def error(self, problem: str, hint: str) -> UsageError:
        return UsageError(f"{self.asked_by}{problem}", hint=hint)

    def conflict(self, words: Mapping[str, str], hint: str) -> UsageError:
        """The options in `words`, each as it was written, exclude each other."""
        problem = f"{self.asked_by}{' and '.join(words.values())} exclude each other"
        return options_conflict(problem, tuple(map(self.written, words)), hint=hint)

    def value(self, name: str) -> object:
        if name in self._values or name not in SHARED:
            return self._values.get(name)
        return SHARED[name].default

    def is_said(self, name: str) -> bool:
        """Whether it says anything but its default."""
        return self.value(name) not in (None, "", SHARED[name].default)

    def text(self, name: str) -> str | None:
        value = self.value(name)
        return None if value is None else str(value)

    def word(self, name: str) -> str:
        """A text; "" if it was not given and has no default."""
        return self.text(name) or ""

    def flag(self, name: str) -> bool:
        return self.value(name) is True

    def number(self, name: str) -> int:
        """The value of an option that has a default, or is required."""
        value = self.value(name)
        # argparse or typed() has checked it: another type is a mistake in the table.
        assert isinstance(value, int), (self.asked_by, name)
        return value

    def path(self, name: str) -> Path | None:
        value = self.value(name)
        return value if isinstance(value, Path) else None

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(str(item) for item in self._items(name))

    def numbers(self, name: str) -> tuple[int, ...]:
        """In order, each once."""
        return tuple(sorted({int(item) for item in self._items(name) if isinstance(item, int)}))

    def paths(self, name: str) -> tuple[Path, ...]:
        return tuple(item for item in self._items(name) if isinstance(item, Path))

    def _items(self, name: str) -> Sequence[object]:
        value = self.value(name)
        return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def goal_of(given: GivenValues) -> Goal:
    """The goal. UsageError for what cannot be meant; an empty size is none."""
    size, written = given.text("size"), given.written
    return Goal(
        parse_goal_size(size) if size else None,
        given.word("partition"),
        cast("SwapPolicy | None", given.text("swap") or None),
        given.numbers("delete"),
        cast("Preallocation", given.word("preallocation")),
        move=given.numbers("move"),
        grow=growth_requests(given.texts("grow"), written),
        sector_size=sector_size_of(given),
        to_gpt=given.flag("to_gpt"),
        lv=volume_requests(given.texts("lv"), written),
        lv_share=parse_percent(given.text("lv_share"), written),
        repair=given.flag("guest_repair"),
        rule=rule_of(*(given.text(option.name) for option in BY_RULE), written=written),
    )


def sector_size_of(given: GivenValues) -> int:
    size = given.number("sector_size")
    if size not in SECTOR_SIZES:
        known = tuple(map(str, SECTOR_SIZES))
        problem = f"{given.asked_by}sectors of {size} bytes are not supported"
        hint = given.written("sector_size", " or ".join(known))
        raise bad_value(problem, given.written("sector_size"), str(size), hint, choices=known)
    return size


def run_options_of(
    given: GivenValues, keys: tuple[bytes, ...], others: tuple[OtherDisk, ...] = ()
) -> RunOptions:
    """How it is carried out, with passphrases and the guest's other disks that take part."""
    snapshots = given.word("snapshots")
    keep, written = given.flag("keep_snapshots"), given.written
    if keep and snapshots == "none":
        words = {
            "keep_snapshots": written("keep_snapshots"),
            "snapshots": written("snapshots", "none"),
        }
        raise given.conflict(words, "leave one of them out")
    return RunOptions(
        cast("Backend", given.word("backend")),
        cast("SnapshotChoice", snapshots),
        keep,
        keys,
        others,
        given.flag("not_in_use"),
        given.flag("overlays_may_break"),
    )


def format_of(given: GivenValues) -> ImageFormat | None:
    return cast("ImageFormat | None", given.text("format"))


# --- values as people write them: `sda1=60%`, `vg/home=+5G`, 85%, 200G, 1h ----------------------


_DISK = (
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
            hint = "name its image with --with: the first is sdb, the next one sdc"
            raise bad_value(f"cannot read --grow {word}", "--grow", word, hint)
        found[number].append(word)
    return found


def disk_number(word: str) -> int:
    """Which disk a partition's name begins with: 0 for sda, vda, nvme0n1, or no disk at all."""
    match = re.match(_DISK, word)
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


_DURATION = r"(\d+(?:\.\d+)?) ?([smhd])"
_NUMBER = r"\d+(\.\d*)?"
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
    value = float(number) if re.fullmatch(_NUMBER, number) else -1.0
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
    match = re.fullmatch(_DURATION, text.strip())
    if match is None:
        raise _wrong(name, text, "that is not a time", written, "write 90s, 15m, 1h or 2d")
    return float(match[1]) * _SECONDS[match[2]]


def _unreadable(name: str, text: str, written: Written, hint: str) -> UsageError:
    return bad_value(f"cannot read {written(name, text)}", written(name), text, hint)


def _wrong(name: str, text: str, problem: str, written: Written, hint: str) -> UsageError:
    return bad_value(f"{written(name)} {text}: {problem}", written(name), text, hint)
