"""Options as typed values: in every spelling of YAML and templates, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.errors import UsageError
from growdisk.playbook.options import typed
from growdisk.playbook.perform import perform
from growdisk.playbook.specs import TASKS

EXPAND = TASKS["expand"]


def test_texts_become_what_the_spec_says() -> None:
    options = typed(
        EXPAND,
        {
            "image": "~/a",
            "delete": "2, 5",
            "move": 3,
            "keep_snapshots": "yes",
            "sector_size": "4096",
        },
    )
    assert options.path("image") == Path("~/a").expanduser()
    assert (options.numbers("delete"), options.numbers("move")) == ((2, 5), (3,))
    assert options.number("sector_size") == 4096
    assert (
        options.flag("keep_snapshots")
        and options.text("snapshots") == "auto"
        and options.text("size") is None
    )


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"sise": 1}, "no option 'sise'"), ({"swap": "mvoe"}, "swap cannot be 'mvoe'"),
        ({"delete": "x"}, "a number"),
        ({"keep_snapshots": "maybe"}, "true or false"), ({"image": {}}, "a path"),
        ({"size": []}, "a text"),
        ({"sector_size": True}, "a number"),
    ],
)  # fmt: skip
def test_what_an_option_cannot_be_is_named(given: dict[str, object], what: str) -> None:
    with pytest.raises(UsageError) as failure:
        typed(EXPAND, given)
    assert what in failure.value.what and failure.value.exit_code == 2


def test_every_option_has_a_sentence_and_every_default_is_a_choice() -> None:
    for task in TASKS.values():
        for option in task.options:
            assert option.description.endswith(".") and (option.type == "list") == bool(
                option.elements
            ), option
            assert (
                option.default is None or not option.choices or option.default in option.choices
            ), option
        assert len({option.name for option in task.options}) == len(task.options)


def test_every_task_answers_with_an_outcome_whatever_is_wrong() -> None:
    """A file that is not there is the commonest mistake: no task may end with a traceback."""
    for task in TASKS.values():
        given = {
            option.name: "/nonexistent/x"
            for option in task.options
            if option.required and option.type == "path"
        }
        given |= {"size": "1G", "name": "x", "system": "/dev/sda1"}
        known = {name: value for name, value in given.items() if task.option(name)}
        swaps: dict[str, object] = (
            {"swaps": [{"number": 5, "start": 1, "size": 1}]} if task.option("swaps") else {}
        )
        image = {"image": "/nonexistent/x"} if task.option("image") else {}
        for check in (True, False):
            outcome = perform(task.name, {**image, **known, **swaps}, check=check)
            assert outcome.failed or task.name in ("image", "rollback", "commit", "script"), (
                task.name,
                outcome,
            )
