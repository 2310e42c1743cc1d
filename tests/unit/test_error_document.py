"""An error has words for people and values for programs, made from the same facts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from growdisk.error_document import error_document
from growdisk.errors import Refused, shell_word
from growdisk.planner.refusals import partition_not_found, would_shrink
from growdisk.units import Bytes, GiB, MiB


def test_a_size_is_a_number_in_data_and_words_in_the_sentence() -> None:
    error = would_shrink(Path("disk.raw"), 256 * MiB, 13 * GiB)
    assert error.why.startswith("it has 256.0 MiB, asked for is 13.0 GiB, ")
    data = error_document(error)["data"]
    assert data == {"path": "disk.raw", "old": 256 * MiB, "new": 13 * GiB, "subject": ""}
    assert isinstance(data, dict) and {type(data["old"]), type(data["new"])} == {int}


def test_several_things_are_a_list_in_data_and_words_in_the_sentence() -> None:
    error = partition_not_found(Path("disk.raw"), "9", ("sda1", "sda2"))
    assert error.why == "its partitions are: sda1, sda2"
    data = error_document(error)["data"]
    assert isinstance(data, dict) and data["present"] == ["sda1", "sda2"]


def test_what_is_not_there_is_none_in_the_sentence() -> None:
    error = Refused.named("x", "there are: {names}", "{taken} taken", "", {"names": (), "taken": 1})
    assert (error.what, error.why) == ("there are: none", "1 taken")


def test_a_size_can_be_reckoned_with() -> None:
    assert Bytes(GiB) + 1 == GiB + 1
    assert f"{Bytes(512)}, {Bytes(3 * GiB)!s}" == "512 B, 3.0 GiB"


@pytest.mark.parametrize(
    "name",
    [b"a b", b"it's", b"-f.raw", b"caf\xe9", "\u00fc".encode(), b"new\nline", b"esc\x1b[31m'\\n9"],
)
def test_a_path_in_a_command_names_the_same_file_to_a_shell(name: bytes) -> None:
    word = shell_word(Path(os.fsdecode(name)))
    assert word.isprintable(), "else it is shown as something else"
    said = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
    assert said.stdout.removeprefix(b"./") == name


def test_a_reason_and_a_hint_that_come_from_elsewhere_are_no_templates() -> None:
    error = Refused.because("x", "cannot {verb}", "it says {this}", "write {{ that }}", verb="go")
    texts = error.what, error.why, error.what_to_do
    assert texts == ("cannot go", "it says {this}", "write {{ that }}")
    assert error_document(error)["data"] == {"verb": "go", "reason": "it says {this}"}
