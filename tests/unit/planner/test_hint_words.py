"""Hints name options of growdisk expand; elsewhere they name what is there."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from growdisk.api.running import GuestTarget
from growdisk.errors import Refused
from growdisk.planner.hint_words import for_a_task, options_in
from growdisk.planner.refusals import CannotGrow

MOVED = "let it be moved: --move 2 --move 3; or removed: --delete 2"


@pytest.mark.parametrize(
    ("hint", "named"),
    [
        (MOVED, {"move": "--move", "delete": "--delete"}),
        ("say --no-guest-repair", {"guest_repair": "--no-guest-repair"}),
        ("leave out --lv-share, or less", {"lv_share": "--lv-share"}),
        ("growdisk expand x.raw --move 2; then on", {}),
        ("in the guest: lvchange --alloc normal", {}),
        ("mdadm --grow --size=max /dev/md0", {}),
    ],
)  # fmt: skip
def test_options_are_known_and_whole_commands_are_not_for_a_task(
    hint: str, named: dict[str, str]
) -> None:
    assert options_in(hint) == named
    assert for_a_task(hint) == (f"{hint} (keys of the task: {', '.join(named)})" if named else hint)


def test_a_running_guest_is_to_be_shut_down_before_something_is_moved() -> None:
    told = []
    for hint in (MOVED, "grow by less"):
        refused = CannotGrow(Path("x"), 1, "it is in the way", hint)
        with pytest.raises(Refused) as raised:
            GuestTarget.proposed(Mock(), Mock(), Mock(), Mock(side_effect=refused))
        told.append(raised.value.what_to_do)
    assert told == [f"{MOVED} (--move once the guest is shut down)", "grow by less"]
