"""Variables and the expressions that ask for them.

A text that is one {{ expression }} and nothing else becomes the value that it is; any other becomes
a text. Variables may be made of others; they are evaluated when they are asked for, and only those
that are.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from growdisk.errors import Refused
from growdisk.host.templating import Failure, Sandbox
from growdisk.host.yaml_reader import YamlPosition, is_list, is_mapping
from growdisk.playbook.options import truth_of
from growdisk.units import format_size, parse_size


class Omit:
    """What `default(omit)` comes to: the option is as if it had not been written."""

    def __str__(self) -> str:
        return "omit"


OMIT = Omit()


def template_failed(
    place: YamlPosition | str,
    text: str,
    reason: str,
    hint: str = "mend the expression, or give what it asks for with -e NAME=VALUE",
) -> Refused:
    return Refused.because(
        "template-failed", "{place}: cannot evaluate {text}", reason, hint, place=place, text=text
    )


@cache
def sandbox() -> Sandbox:
    return Sandbox(FILTERS, TESTS)


class TaskVariables:
    """All variables that one task sees.

    `layers` may hold templates, the last one wins; `final` values hold none.
    """

    # What tasks have registered comes from images: it is never evaluated.

    def __init__(self, layers: Sequence[Mapping[str, object]], final: Mapping[str, object]) -> None:
        self._layers, self._final = tuple(layers), {**final, "omit": OMIT}
        self._known: dict[str, object] = {}
        self._being_found: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._final or any(name in layer for layer in self._layers)

    def with_final(self, values: Mapping[str, object]) -> TaskVariables:
        return TaskVariables(self._layers, {**self._final, **values})

    def render(self, value: object, place: YamlPosition | str) -> object:
        """`value` with every expression in it evaluated. template-failed."""
        if isinstance(value, str):
            return self._text(value, place)
        if is_mapping(value):
            evaluated = ((str(key), self.render(item, place)) for key, item in value.items())
            return {key: item for key, item in evaluated if item is not OMIT}
        if is_list(value):
            return [item for item in (self.render(one, place) for one in value) if item is not OMIT]
        return value

    def value(self, expression: str, place: YamlPosition | str) -> object:
        """What an expression without braces comes to. template-failed."""
        try:
            names, _ = sandbox().names_in(expression, expression=True)
            return _plain(sandbox().value(expression, self._needed(names, place)))
        except Refused:
            raise  # of a variable inside: it names the text that is wrong
        except Exception as error:  # an expression may go wrong in as many ways as Python has
            raise template_failed(place, text=expression, reason=_reason(error)) from error

    def are_true(self, conditions: Sequence[str], place: YamlPosition | str) -> bool:
        return all(bool(self.value(condition, place)) for condition in conditions)

    def _text(self, text: str, place: YamlPosition | str) -> object:
        if not is_template(text):
            return text
        if inner := lone_expression(text):
            return self.value(inner, place)
        try:
            names, _ = sandbox().names_in(text)
            return _plain(_structure(sandbox().text(text, self._needed(names, place))))
        except Refused:
            raise
        except Exception as error:
            raise template_failed(place, text=text, reason=_reason(error)) from error

    def _needed(self, names: set[str], place: YamlPosition | str) -> dict[str, object]:
        # Only names that the expression has: an unused variable may fail. jinja2 knows whether an
        # unknown one may be missing (default, is defined).
        return {name: self._variable(name, place) for name in names if name in self}

    def _variable(self, name: str, place: YamlPosition | str) -> object:
        if name in self._final:
            return self._final[name]
        if name in self._known:
            return self._known[name]
        # The names on the way from the first variable to this one: a: "{{ b }}", b: "{{ a }}".
        if name in self._being_found:
            circle = " -> ".join([*self._being_found, name])
            raise template_failed(place, text=name, reason=f"it is made of itself: {circle}")
        self._being_found.append(name)
        try:
            # `in self` was asked before (_needed): there is such a layer.
            raw = next(layer[name] for layer in reversed(self._layers) if name in layer)
            self._known[name] = self.render(raw, place)
        finally:
            self._being_found.pop()
        return self._known[name]


# {{- and -}} (and {{+) touch the braces; any other minus belongs to the expression.
_LONE = r"(?s)\s*\{\{[-+]?(?P<inner>.*?)-?\}\}\s*"


def is_template(text: str) -> bool:
    return "{{" in text or "{%" in text or "{#" in text


def lone_expression(text: str) -> str:
    """The inside of `{{ … }}` if that is all there is; "" otherwise."""
    match = re.fullmatch(_LONE, text)
    inner = match["inner"].strip() if match else ""
    # {{ a }}/{{ b }} begins and ends like one expression, and is a text.
    return "" if any(mark in inner for mark in ("{{", "}}", "{%", "%}", "{#")) else inner


def templates_in(value: object) -> Iterator[str]:
    """All texts with expressions, however deep."""
    if isinstance(value, str):
        if is_template(value):
            yield value
    elif is_mapping(value):
        for item in value.values():
            yield from templates_in(item)
    elif is_list(value):
        for item in value:
            yield from templates_in(item)


def _structure(text: str) -> object:
    """A text that looks like a list or a mapping becomes one, as with Ansible."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            found: object = ast.literal_eval(text.strip())
        # Such a text need not be a literal: [1:3], or a password that begins with a brace.
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return text
        return found
    return text


def _plain(value: object) -> object:
    """A value as YAML has them, for another process: views and generators become lists."""
    if value is None or value is OMIT or isinstance(value, str | bytes | int | float):
        return value
    if is_mapping(value):
        # A key that JSON has no room for is written as a text.
        return {
            key if isinstance(key, str | int | float) else str(key): _plain(item)
            for key, item in value.items()
        }
    return list(map(_plain, value)) if isinstance(value, Iterable) else str(value)


def _reason(error: Exception) -> str:
    word = "" if isinstance(error, Failure) else f"{type(error).__name__}: "
    # One line, and not the megabytes that an expression may have made.
    return f"{word}{' '.join(str(error).split())}"[:300]


# What playbooks may call in expressions besides jinja2's own: Ansible's filters and tests that
# reach no file, and `exists`, `file`, `directory`, which only ask whether one is there.


def _combine(first: Mapping[str, object], *others: Mapping[str, object]) -> dict[str, object]:
    merged = dict(first)
    for other in others:
        merged.update(other)
    return merged


def _ternary(value: object, yes: object, no: object, none: object = None) -> object:
    if value is None and none is not None:
        return none
    return yes if value else no


def _splitext(path: object) -> tuple[str, str]:
    suffix = PurePosixPath(str(path)).suffix
    return str(path).removesuffix(suffix), suffix


def _has(key: str) -> Callable[[object], bool]:
    """A test on what a task registered."""
    return lambda result: is_mapping(result) and result.get(key) is True


FILTERS: Mapping[str, Callable[..., object]] = MappingProxyType(
    {
        "bool": lambda value: truth_of(value) is True,
        "basename": lambda path: PurePosixPath(str(path)).name,
        "dirname": lambda path: str(PurePosixPath(str(path)).parent),
        "splitext": _splitext,
        "combine": _combine,
        "ternary": _ternary,
        "regex_replace": lambda value, old, new="": re.sub(old, new, str(value)),
        "to_json": lambda value: json.dumps(value, default=str),
        "to_nice_json": lambda value: json.dumps(value, default=str, indent=4, sort_keys=True),
        "from_json": json.loads,
        "human_to_bytes": lambda text: parse_size(str(text)).bytes,
        "human_readable": lambda size: format_size(int(size)),
    }
)

TESTS: Mapping[str, Callable[..., bool]] = MappingProxyType(
    {
        "failed": _has("failed"),
        "succeeded": lambda result: not _has("failed")(result),
        "success": lambda result: not _has("failed")(result),
        "changed": _has("changed"),
        "skipped": _has("skipped"),
        "match": lambda value, pattern: re.match(pattern, str(value)) is not None,
        "search": lambda value, pattern: re.search(pattern, str(value)) is not None,
        "exists": lambda path: Path(str(path)).exists(),
        "file": lambda path: Path(str(path)).is_file(),
        "directory": lambda path: Path(str(path)).is_dir(),
    }
)
