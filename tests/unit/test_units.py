"""Sizes as people write them, and half-open ranges."""

from __future__ import annotations

import pytest

from growdisk.errors import BadSize
from growdisk.units import (
    ByteRange,
    GiB,
    MiB,
    SizeSpec,
    TiB,
    align_down,
    align_up,
    format_change,
    format_size,
    parse_goal_size,
    parse_size,
    split_range,
    whole_percent,
)


@pytest.mark.parametrize(
    ("text", "size", "relative"),
    (
        ("+10G", 10 * GiB, True), ("40G", 40 * GiB, False), ("1.5T", 3 * TiB // 2, False),
        ("+.5G", GiB // 2, True),
        ("10GiB", 10 * GiB, False), ("512b", 512, False), ("1k", 1024, False), ("1K", 1024, False),
        ("7E", 7 << 60, False), (" +1M ", MiB, True), ("2.M", 2 * MiB, False), ("0.1k", None, None),
    ),
)  # fmt: skip
def test_a_size_with_a_unit_is_exact(text: str, size: int | None, relative: bool):
    if size is None:
        with pytest.raises(BadSize, match="whole number"):
            parse_size(text)
    else:
        assert parse_size(text) == SizeSpec(size, relative)


@pytest.mark.parametrize("text", ["+10G", "40G", "1536G", "+1025M", "513b", "7E", "+3k"])
def test_a_size_is_written_as_it_was_asked_for(text: str) -> None:
    assert str(parse_size(text)) == text


def test_no_growth_is_written_as_a_size_that_can_be_read() -> None:
    none = parse_goal_size("+0")
    assert str(none) == "+0b" and parse_goal_size(str(none)) == none


@pytest.mark.parametrize(
    "text",
    (
        "10",
        "10GB",
        "10kB",
        "-5G",
        "0G",
        "+0G",
        "8E",
        "16E",
        "",
        "G",
        "ten",
        "1e3G",
        "5X",
        "1 G",
        "+-1G",
        "1,5G",
        "4iB",
        "1" * 5000,
        "1" * 5000 + "G",
        "\N{ARABIC-INDIC DIGIT ONE}G",
    ),
)
def test_what_tools_disagree_on_or_cannot_be_is_refused_with_a_hint(text: str):
    with pytest.raises(BadSize) as refusal:
        parse_size(text)
    assert refusal.value.why
    assert refusal.value.what_to_do
    assert refusal.value.exit_code == 2


def test_a_relative_size_is_added_and_an_absolute_one_replaces():
    assert parse_size("+1G").resolve(5 * GiB) == 6 * GiB
    assert parse_size("1G").resolve(5 * GiB) == GiB


def test_aligning_goes_to_the_neighbour_or_stays():
    assert (align_down(4095, 4096), align_down(4096, 4096), align_up(4097, 4096)) == (0, 4096, 8192)
    assert align_up(0, 4096) == 0


def test_a_range_is_cut_at_every_multiple_and_covers_itself():
    assert list(split_range(5, 25, 10)) == [(5, 10), (10, 20), (20, 25)]
    assert list(split_range(10, 20, 10)) == [(10, 20)]
    assert list(split_range(7, 7, 10)) == []


def test_ranges_that_touch_do_not_overlap():
    assert not ByteRange(0, 10).overlaps(ByteRange(10, 20))
    assert ByteRange(0, 11).overlaps(ByteRange(10, 20))
    assert ByteRange(0, 10).contains(ByteRange(0, 10))
    assert ByteRange(3, 10).length == 7


def test_a_range_that_ends_before_it_starts_cannot_be_made():
    with pytest.raises(ValueError, match="not a range"):
        ByteRange(2, 1)


@pytest.mark.parametrize(
    ("size", "text"),
    (
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (13 * GiB, "13.0 GiB"),
        (-GiB, "-1.0 GiB"),
        (3 * TiB, "3.0 TiB"),
    ),
)
def test_sizes_are_shown_in_powers_of_1024(size: int, text: str):
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (3 * GiB, 13 * GiB, "3.0 GiB -> 13.0 GiB"),
        (8 * TiB, 8 * TiB + 10 * GiB, "8.0 TiB -> 8.0 TiB (+10.0 GiB)"),
        (TiB - MiB, TiB + 10 * GiB, "1.0 TiB -> 1.0 TiB (+10.0 GiB)"),
        (GiB, GiB - 512, "1.0 GiB -> 1.0 GiB (-512 B)"),
        (GiB, GiB, "1.0 GiB -> 1.0 GiB"),
    ],
)
def test_a_change_of_size_shows(old: int, new: int, text: str) -> None:
    assert format_change(old, new) == text


@pytest.mark.parametrize(
    ("share", "percent"),
    [(0.0, 0), (0.001, 1), (0.07, 7), (0.29, 29), (0.85, 85), (0.8500001, 86), (1.0, 100)],
)
def test_a_percentage_is_rounded_up_as_df_does(share: float, percent: int) -> None:
    assert whole_percent(share) == percent
