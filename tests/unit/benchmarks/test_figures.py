"""docs/benchmarks.md shows what was measured, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from benchmarks import page
from benchmarks.measure import Sample, figure, in_turn, take_growdisk, take_small
from growdisk.units import GiB
from tests.conftest import DiskMaker


def test_the_pages_figures_are_the_kept_numbers() -> None:
    text = page.PAGE.read_text()
    assert page.rewritten(text) == text


def test_all_tables_have_been_measured() -> None:
    assert [name for name in page.NAMES if page.kept(name) is None] == []


def test_the_picture_is_an_image_of_the_kept_numbers() -> None:
    picture = (page.RESULTS / page.PICTURE).read_text()
    kept = page.kept("expand")
    assert kept is not None
    shown = "".join(ElementTree.fromstring(picture).itertext())
    assert all(f"{tool['wall']:.2f} s" in shown for tool in kept["tools"].values())


def test_a_figure_is_the_median_with_its_spread() -> None:
    figures = figure([Sample(3.0), Sample(1.0), Sample(2.5)])
    assert (figures["wall"], figures["low"], figures["high"]) == (2.5, 1.0, 3.0)
    assert figures["count"] == 3


def test_contenders_take_turns() -> None:
    order: list[str] = []

    def contender(name: str) -> Callable[[], Sample]:
        return lambda: order.append(name) or Sample(0.0)

    in_turn({"a": contender("a"), "b": contender("b")}, {"a": 3, "b": 2})
    assert order == ["a", "b", "a", "b", "a"]


def test_a_measured_run_is_a_real_run_with_its_answer(small_disk: DiskMaker) -> None:
    disk = small_disk()
    sample = take_growdisk(["plan", disk, "+1G"])
    assert sample.answer["after"]["image"]["virtual_size"] == 256 * (GiB >> 10) + GiB
    assert 0 < sample.own_cpu < sample.wall + 2
    assert 10_000 < sample.own_peak_kib < 200_000
    assert json.dumps(figure([sample]))


def test_a_command_that_fails_is_no_sample() -> None:
    with pytest.raises(SystemExit, match="exit code 1"):
        take_small(["false"])
