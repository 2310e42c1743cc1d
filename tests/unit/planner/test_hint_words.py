"""Hints name options of growdisk expand; elsewhere they name what is there."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from growdisk.api.running import GuestTarget
from growdisk.errors import Refused
from growdisk.planner.hint_words import as_keys, flags_of_expand
from growdisk.planner.refusals import CannotGrow

MOVED = "let it be moved: --move 2 --move 3; or removed: --delete 2"


@pytest.mark.parametrize(
    ("hint", "as_a_task_has_it"),
    [
        (MOVED, "let it be moved: move: [2, 3]; or removed: delete: [2]"),
        ("use --swap drop or --swap move", "use swap: drop or swap: move"),
        ("with --allow-reboot, or later", "with allow_reboot: true, or later"),
        ("say --no-guest-repair", "say guest_repair: false"),
        ("leave --preallocation out", "leave preallocation out"),
        ("leave out --lv-share, or less", "leave out lv_share, or less"),
        ("give it (--key-file FILE; all bytes)", "give it (key_file: [FILE]; all bytes)"),
        ("say --force to replace it", "say force: true to replace it"),
        ("growdisk expand x.raw --move 2; then on", "growdisk expand x.raw --move 2; then on"),
        ("in the guest: lvchange --alloc normal", "in the guest: lvchange --alloc normal"),
        ("mdadm --grow --size=max /dev/md0", "mdadm --grow --size=max /dev/md0"),
    ],
)  # fmt: skip
def test_a_task_has_keys(hint: str, as_a_task_has_it: str) -> None:
    assert as_keys(hint) == as_a_task_has_it
    assert as_keys(as_a_task_has_it) == as_a_task_has_it


def test_what_only_expand_has() -> None:
    assert flags_of_expand(MOVED, but=("delete",)) == ("--move",)
    assert flags_of_expand("growdisk expand x.raw --move 2; lvextend --size +1m", but=()) == ()


def test_a_running_guest_is_to_be_shut_down_before_something_is_moved() -> None:
    told = []
    for hint in (MOVED, "grow by less"):
        refused = CannotGrow(Path("x"), 1, "it is in the way", hint)
        with pytest.raises(Refused) as raised:
            GuestTarget.proposed(Mock(), Mock(), Mock(), Mock(side_effect=refused))
        told.append(raised.value.what_to_do)
    assert told == [f"{MOVED} (--move once the guest is shut down)", "grow by less"]
