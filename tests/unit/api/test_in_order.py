"""Pieces worked on side by side and used in order: progress, endings, and cleaning up."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from threading import Event, active_count

import pytest

from growdisk.api.images.pump import StopEarly, in_order


@pytest.fixture(autouse=True)
def _leaves_no_thread() -> Iterator[None]:
    before = active_count()
    yield
    assert active_count() == before


def told(_reached: int) -> None:
    """Of the progress."""


@pytest.mark.parametrize("jobs", [0, 1, 2, 5, 50])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 500])
def test_everything_is_used_once_and_in_order(jobs: int, count: int) -> None:
    chance, used = random.Random(count), []

    def work(number: int) -> int:
        time.sleep(chance.random() / 2000)
        return number

    def use(number: int) -> int:
        used.append(number)
        return number

    in_order(range(count), work, use, told, jobs=jobs)
    assert used == list(range(count))


@pytest.mark.parametrize("stage", ["take", "work", "use"])
@pytest.mark.parametrize("where", [0, 3, 40])
def test_the_first_failure_in_order_is_raised_and_nothing_behind_it_is_used(
    stage: str, where: int
) -> None:
    used = []

    def fails(here: str, number: int) -> int:
        if here == stage and number >= where:
            raise OSError(f"{number} is broken")
        return number

    def use(number: int) -> int:
        used.append(fails("use", number))
        return number

    with pytest.raises(OSError, match=f"^{where} is broken"):
        in_order(
            (fails("take", number) for number in range(100)),
            lambda number: fails("work", number),
            use,
            told,
        )
    assert used == ([] if where < 8 and stage == "take" else list(range(where)))


def test_pieces_that_wait_for_a_slow_one_are_bounded() -> None:
    go, taken, used = Event(), [], []

    def work(number: int) -> int:
        taken.append(number)
        if len(taken) > 7:
            go.set()  # the others went on meanwhile
        if number == 0:
            assert go.wait(20)
        return number

    in_order(
        range(1000), work, lambda number: used.append(len(taken) - number) or number, told, jobs=4
    )
    assert max(used) <= 8
    assert len(used) == 1000


@pytest.mark.parametrize("where", [2, 60])
def test_who_has_enough_gets_no_more(where: int) -> None:
    used = []

    def use(number: int) -> int:
        if number == where:
            raise StopEarly
        used.append(number)
        return number

    in_order(range(10_000), lambda number: number, use, told)
    assert used == list(range(where))


def test_an_interruption_of_the_one_who_waits_ends_all() -> None:
    used, main = [], threading.current_thread()

    def progress(_reached: int) -> None:
        assert threading.current_thread() is main
        if used:
            raise KeyboardInterrupt

    def use(number: int) -> int:
        assert threading.current_thread() is not main
        used.append(number)
        return number

    def endless() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    with pytest.raises(KeyboardInterrupt):
        in_order(endless(), lambda number: number, use, progress, jobs=3)
    after = len(used)
    assert used == list(range(after))


def test_taking_and_using_exclude_each_other_where_they_have_something_in_common() -> None:
    inside = 0

    def alone(number: int) -> int:
        nonlocal inside
        inside += 1
        assert inside == 1
        time.sleep(0)
        inside -= 1
        return number

    in_order(
        (alone(number) for number in range(300)),
        lambda number: number,
        alone,
        told,
        independent=False,
        jobs=4,
    )
