"""YAML's anchors and merges (<<): a key may be overridden, and not written twice."""

import pytest

from growdisk.host.yaml_reader import parse_yaml
from tests.refusals import raises


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: &x {<<: *base, key: 1}\nb: *x", {"a": {"key": 1}, "b": {"key": 1}}),
        ("a: &x {<<: *base, key: 1}\nb: {<<: *x}", {"a": {"key": 1}, "b": {"key": 1}}),
        (
            "a: &x {<<: *base, key: 1}\nb: {<<: [*x, *base], key: 2}\nc: [*x, *x]",
            {"a": {"key": 1}, "b": {"key": 2}, "c": [{"key": 1}, {"key": 1}]},
        ),
        ("a: {<<: &x {<<: *base, key: 1}}\nb: *x", {"a": {"key": 1}, "b": {"key": 1}}),
    ],
)
def test_a_mapping_that_overrides_what_it_merges_may_be_used_again(
    text: str, value: dict[str, object]
) -> None:
    found = parse_yaml(f"base: &base {{key: 0}}\n{text}\n", "file")
    assert found is not None
    assert found.plain() == {"base": {"key": 0}, **value}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: {key: 0, key: 1}", "file:1:13"),
        ("a: [{b: {key: 0, key: 1}}]", "file:1:18"),
        ("a: {<<: {key: 0, key: 1}}", "file:1:18"),
        ("a: {<<: [{key: 0, key: 1}], key: 2}", "file:1:19"),
    ],
)
def test_a_key_that_stands_twice_is_refused_also_in_what_is_merged(text: str, place: str) -> None:
    with raises("bad-file", match="'key' stands here a second time") as caught:
        parse_yaml(text, "file")
    assert str(caught.value.place) == place


def test_a_mapping_that_contains_itself_is_refused() -> None:
    for text in ("a: &x {b: *x}", "a: &x {b: {<<: *x}}", "a: &x [*x]"):
        with raises("bad-file"):
            parse_yaml(text, "file")


@pytest.mark.parametrize(
    "value", ['!!int ""', '!!float ""', "!!int _", "!!bool perhaps", "!!timestamp now", "!!int x"]
)
def test_what_is_no_value_of_its_own_type_is_refused_with_its_place(value: str) -> None:
    with raises("bad-file", match="this is not a value of tag:yaml.org,2002:") as caught:
        parse_yaml(f"a: 1\nb: {value}\n", "file")
    assert "file:2:4" in str(caught.value)
