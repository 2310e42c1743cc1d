"""On a terminal growdisk asks once what shall become of swap; scripts are never asked."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.conftest import DiskMaker
from tests.e2e.judges import sfdisk
from tests.guests.small import SmallDisk
from tests.unit.cli.command import GROWDISK, environment, in_process

QUESTION = b"what shall become of it?"


def on_a_terminal(*words: str | Path, answer: bytes) -> tuple[int, bytes]:
    """growdisk with a terminal on all three streams; `answer` is typed when it asks.

    Exit code, and all it showed.
    """
    main, sub = pty.openpty()
    with subprocess.Popen(
        [GROWDISK, *words], stdin=sub, stdout=sub, stderr=sub, env=environment()
    ) as process:
        os.close(sub)
        shown = b""
        answered = False
        while True:
            try:
                shown += os.read(main, 4096)
            except OSError:  # the terminal is closed: the process has ended
                break
            if QUESTION in shown and not answered:
                answered = True
                os.write(main, answer)
        os.close(main)
        return process.wait(), shown


@pytest.fixture
def image(small_disk: DiskMaker) -> Path:
    return small_disk("guest.raw", SmallDisk(image_format="raw"))


@pytest.mark.parametrize(
    ("answer", "partitions"), [(b"\n", 1), (b"drop\n", 1), (b"move\n", 3), (b"what\nmove\n", 3)]
)
def test_the_answer_is_what_happens(image: Path, answer: bytes, partitions: int) -> None:
    code, shown = on_a_terminal("expand", image, "+64M", answer=answer)
    assert (code, shown.count(QUESTION)) == (0, 1 + answer.count(b"what")), shown
    assert len(sfdisk(image)) == partitions


@pytest.mark.parametrize("answer", [b"\x04", b"n\n\x04"])
def test_the_end_of_the_terminal_is_no_answer(image: Path, answer: bytes) -> None:
    code, shown = on_a_terminal("expand", image, "+64M", answer=answer)
    assert code == 3 and b"the question was not answered" in shown, shown
    assert len(sfdisk(image)) == 3


@pytest.mark.parametrize("words", [("--yes",), ("--swap", "drop"), ("--json",), ("-q",)])
def test_nothing_is_asked_of_those_who_have_said_it(image: Path, words: tuple[str, ...]) -> None:
    code, shown = on_a_terminal("expand", image, "+64M", *words, answer=b"move\n")
    assert (code, QUESTION in shown) == (0, False), shown


def test_nothing_is_asked_without_a_terminal(image: Path) -> None:
    answer = in_process("expand", image, "+64M")
    assert (answer.code, QUESTION.decode() in answer.err) == (0, False)


def test_nothing_is_asked_if_no_swap_is_in_the_way(image: Path) -> None:
    in_process("expand", image, "+64M")
    code, shown = on_a_terminal("expand", image, "+64M", answer=b"move\n")
    assert (code, QUESTION in shown) == (0, False), shown
