"""What a user gave, by the names of the table of options, and the goal that it makes.

Command line and playbooks both come through here; messages write options as the user does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from growdisk.errors import UsageError, bad_value, options_conflict
from growdisk.planner.goal import (
    Backend,
    Goal,
    OtherDisk,
    Preallocation,
    RunOptions,
    SnapshotChoice,
    SwapPolicy,
)
from growdisk.planner.option_table import BY_RULE, SECTOR_SIZES, SHARED, as_flag
from growdisk.planner.option_words import growth_requests, parse_percent, rule_of, volume_requests
from growdisk.units import parse_goal_size

if TYPE_CHECKING:
    from growdisk.qcow2.probe import ImageFormat


class GivenValues:
    """Values by the names of options; one that is missing has its default of the table.

    `written` writes an option as the user does. `asked_by` begins an error: "" or a task's name.
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
        raise bad_value(
            f"{given.asked_by}sectors of {size} bytes are not supported",
            given.written("sector_size"),
            str(size),
            hint=given.written("sector_size", " or ".join(known)),
            choices=known,
        )
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
