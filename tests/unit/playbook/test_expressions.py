"""Playbook expressions: values as in Ansible, and nothing that harms for a stranger's playbook."""

from __future__ import annotations

import pytest

from growdisk.errors import Refused
from growdisk.playbook.expressions import OMIT, TaskVariables

SCOPE = TaskVariables(
    [{"size": 5, "text": "a", "outer": "{{ inner }}", "inner": ["{{ size }}", 2]}, {"text": "b"}],
    {"done": {"changed": True, "failed": False, "results": [{"rc": 1}, {"rc": 0}]}},
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"), ("{{ size }}", 5), ("{{ size }}G", "5G"), ("{{ outer }}", [5, 2]),
        ("{{ text }}", "b"),
        ("{{ -5 }}", -5), ("{{ -size }}", -5), ("{{-size}}", 5), ("{{- -size -}}", -5),
        ("{{- outer -}}", [5, 2]), ("{{+ outer }}", [5, 2]), ("{{ size - -size }}", 10),
        ("{{ missing | default('x') }}", "x"), ("{{ missing is defined }}", False),
        ("{{ done is changed }}", True),
        ("{{ done.results | selectattr('rc') | list | length }}", 1), ("{{ 'yes' | bool }}", True),
        ("{{ '/a/b.qcow2' | basename | splitext | first }}", "b"),
        ("{{ {'a': 1} | combine({'b': 2}) }}", {"a": 1, "b": 2}),
        ("{{ (size > 3) | ternary('big', 'small') }}", "big"),
        ("{% if size > 3 %}yes{% endif %}", "yes"),
        ({"a": ["{{ size }}"], "b": "{{ omit }}"}, {"a": [5]}), ("[1, {{ size }}]", [1, 5]),
        ("{{ omit }}", OMIT),
        # As views and generators they could not be handed to another process.
        ("{{ done.results.0.items() }}", [["rc", 1]]), ("{{ outer | map('string') }}", ["5", "2"]),
        ("{{ {(1, 2): outer | reverse} }}", {"(1, 2)": [2, 5]}),
        ("{{ 'v1.2' is match('v[0-9]') }}", True),
        ("{{ 'web01' | regex_replace('[0-9]+', '') }}", "web"),
    ],
)  # fmt: skip
def test_a_template_becomes_the_value_that_it_is(text: object, value: object) -> None:
    assert SCOPE.render(text, "here") == value


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__ }}", "{{ ''.__class__.__mro__ }}", "{{ cycler.__init__.__globals__ }}",
        "{{ lipsum.__globals__ }}", "{{ done.update({'x': 1}) }}", "{{ done.results.append(1) }}",
        "{{ range(10 ** 9) | list }}", "{{ 'a' * 10 ** 9 }}",
        "{{ [0] * 10 ** 9 }}", "{{ 9 ** (9 ** 9) }}", "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ 1 / 0 }}", "{{ nobody }}", "{{ done.nothing }}", "{{ size.__init__ }}",
        "{{ '%s' | format(nobody) }}",
    ],
)  # fmt: skip
def test_what_fails_or_leads_outside_is_an_error_with_its_place(text: str) -> None:
    with pytest.raises(Refused) as failure:
        SCOPE.render(text, "play.yml:3:5")
    assert (
        failure.value.what.startswith("play.yml:3:5: cannot evaluate")
        and failure.value.exit_code == 3
    )


def test_a_variable_made_of_itself_is_said_to_be() -> None:
    with pytest.raises(Refused, match="a -> b -> a"):
        TaskVariables([{"a": "{{ b }}", "b": "{{ a }}"}], {}).render("{{ a }}", "here")


def test_conditions_are_expressions_that_must_all_hold() -> None:
    assert SCOPE.are_true(["size == 5", "text == 'b'", "done is not failed"], "here")
    assert not SCOPE.are_true(["size == 5", "text == 'a'"], "here")
