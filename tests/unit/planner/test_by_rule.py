"""Growing by rule: decided on facts alone, without any disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.errors import UsageError
from growdisk.filesystems.content import Content, ExtContent, LuksContent
from growdisk.planner.by_rule import proposed_by_rule
from growdisk.planner.facts import Facts, ImageFacts
from growdisk.planner.given_values import rule_of, share
from growdisk.planner.goal import Goal, Rule
from growdisk.planner.planner import propose
from growdisk.planner.proposal import GoalReached, Proposal
from growdisk.planner.refusals import CannotGrow
from growdisk.units import GiB, SizeSpec
from tests.refusals import raises


def disk(content: Content, size: int = 10 * GiB) -> Facts:
    return Facts(ImageFacts(Path("disk.raw"), "raw", size, size), None, {0: content})


def ext(used: float, reserved: float = 0.0, size: int = 10 * GiB) -> ExtContent:
    blocks = size // 4096
    return ExtContent(
        "ext4",
        "u",
        "",
        size,
        int(used * size),
        block_count=blocks,
        reserved_blocks=int(reserved * blocks),
        blocks_per_group=32768,
        inodes_per_group=8192,
        inode_blocks_per_group=512,
        reserved_gdt_blocks=1024,
    )


def asked(facts: Facts, rule: Rule, size: str = "+10G") -> Proposal | GoalReached:
    spec = SizeSpec(int(size[1:-1]) * GiB, relative=True)
    return propose(facts, Goal(spec, rule=rule))


def test_a_disk_that_is_full_enough_grows() -> None:
    proposal = asked(disk(ext(0.9)), Rule(when_used=0.85))
    assert isinstance(proposal, Proposal)
    assert proposal.after.image.virtual_size == 20 * GiB


def test_a_disk_that_is_not_is_left_alone() -> None:
    assert isinstance(done := asked(disk(ext(0.8)), Rule(when_used=0.85)), GoalReached)
    assert done.reason == "sda is 80 % full, and grows above 85 %"


def test_what_only_root_may_fill_counts_as_full_as_for_df() -> None:
    assert isinstance(asked(disk(ext(0.8, reserved=0.1)), Rule(when_used=0.85)), Proposal)


def test_the_last_step_ends_at_the_largest_size_and_then_there_is_none() -> None:
    rule = Rule(when_used=0.85, max_size=12 * GiB)
    proposal = asked(disk(ext(0.9)), rule)
    assert isinstance(proposal, Proposal)
    assert proposal.after.image.virtual_size == 12 * GiB
    assert isinstance(asked(disk(ext(0.9, size=12 * GiB), 12 * GiB), rule), GoalReached)
    assert isinstance(asked(disk(ext(0.9, size=13 * GiB), 13 * GiB), rule), GoalReached)


def test_it_does_not_grow_again_too_soon() -> None:
    assert isinstance(
        asked(disk(ext(0.9)), Rule(0.85, min_interval=3600, since_growth=600)), GoalReached
    )
    assert isinstance(
        asked(disk(ext(0.9)), Rule(0.85, min_interval=3600, since_growth=3601)), Proposal
    )
    assert isinstance(asked(disk(ext(0.9)), Rule(0.85, min_interval=3600)), Proposal)


def test_what_cannot_be_known_is_refused() -> None:
    with raises("fullness-unknown", match="crypto_LUKS in sda"):
        proposed_by_rule(
            Rule(0.85),
            disk(LuksContent("crypto_LUKS")),
            Goal(),
            lambda facts, _: Proposal((), facts),
        )


def test_what_stands_in_the_way_is_nothing_to_a_disk_that_has_room() -> None:
    def refusing(facts: Facts, goal: Goal) -> Proposal | GoalReached:
        raise CannotGrow(facts.image.path, 1, reason="something", hint="")

    assert isinstance(proposed_by_rule(Rule(0.85), disk(ext(0.5)), Goal(), refusing), GoalReached)
    with pytest.raises(CannotGrow):
        proposed_by_rule(Rule(0.85), disk(ext(0.9)), Goal(), refusing)


def test_a_rule_as_people_write_it() -> None:
    assert rule_of("85%", "200G", "90m", "10") == Rule(0.85, 200 * GiB, 5400.0, 0.1)
    assert rule_of(None, None, None, None) is None


@pytest.mark.parametrize(
    "words",
    [
        ("101%", None, None, None), ("-1%", None, None, None), ("nan", None, None, None),
        ("85%", "+20G", None, None),
        ("85%", None, "1 hour", None), ("85%", None, None, "much"),
    ],
)  # fmt: skip
def test_what_is_no_rule_is_a_usage_error(words: tuple[str | None, ...]) -> None:
    with pytest.raises(UsageError):
        rule_of(*words)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "value"), [("85%", 0.85), ("85", 0.85), ("0.5 %", 0.005)])
def test_a_percentage_is_read(text: str, value: float) -> None:
    assert share("when_used", text) == value


@pytest.mark.parametrize("text", ["0.85", "120%", "-1%", "", "nan", "half"])
def test_what_may_be_meant_for_another_percentage_is_refused(text: str) -> None:
    with raises("bad-value"):
        share("when_used", text)
