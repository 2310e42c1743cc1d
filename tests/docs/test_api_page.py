"""docs/api.md names all that is public, with the arguments that it takes."""

from __future__ import annotations

import inspect
import re

import pytest

from growdisk import api
from tests.docs.pages import code_of

CODE = code_of("api")
CALLS = [
    (found[1], found[2])
    for code in CODE
    if (found := re.fullmatch(r"(\w+)\(([\w, ]*)\)", code)) and found[1] in api.__all__
]


def test_all_that_is_public_is_named() -> None:
    named = {word for code in CODE for word in re.findall(r"\w+", code)}
    assert [name for name in api.__all__ if name not in named] == []


def test_every_function_is_called_once() -> None:
    functions = [name for name in api.__all__ if inspect.isfunction(getattr(api, name))]
    assert sorted(name for name, _ in CALLS) == sorted(functions)


@pytest.mark.parametrize(("name", "words"), CALLS, ids=str)
def test_a_function_takes_what_the_page_says(name: str, words: str) -> None:
    """Those that are named come first, and none that it needs is left out."""
    said = [word for word in words.split(", ") if word]
    parameters = list(inspect.signature(getattr(api, name)).parameters.values())
    assert [each.name for each in parameters[: len(said)]] == said
    assert all(each.default is not inspect.Parameter.empty for each in parameters[len(said) :])
