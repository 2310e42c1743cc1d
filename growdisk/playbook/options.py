"""A task's options as typed values, checked against its spec: of playbooks and Ansible modules.

Texts become what the spec says, as YAML and templates would have them: "5" is a number, "yes" is
true, "2,5" a list.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.errors import UsageError
from growdisk.given_file import given_path, read_given
from growdisk.planner.given_values import GivenValues
from growdisk.planner.option_table import OptionSpec, as_key
from growdisk.playbook.specs import TaskSpec
from growdisk.suggestions import suggestion
from growdisk.units import parse_goal_size

if TYPE_CHECKING:
    from growdisk.planner.option_table import OptionType

_SIZES = frozenset({"size", "at_least", "filesystem_at_least"})
_TRUE = frozenset({"yes", "true", "on", "y", "t", "1"})
_FALSE = frozenset({"no", "false", "off", "n", "f", "0"})


def _bad_option(spec: TaskSpec, problem: str, hint: str) -> UsageError:
    return UsageError.named(
        "bad-option",
        "{task}: {problem}",
        "",
        "{hint}",
        {"problem": problem, "hint": hint, "task": spec.qualified},
    )


class Options(GivenValues):
    """All options of a task; those that were not given have their default.

    Paths have `~` and `$HOME` filled in.
    """

    def __init__(self, task: str, values: Mapping[str, object]) -> None:
        super().__init__(values, as_key, f"{task}: ")
        self.task = task

    def place(self, name: str) -> Path:
        """A path that is required."""
        path = self.path(name)
        assert path is not None, (self.task, name)
        return path

    def keys(self) -> tuple[bytes, ...]:
        """The passphrases in the files that key_file names: all their bytes."""
        return tuple(read_given(path, "check key_file") for path in self.paths("key_file"))

    def mappings(self, name: str) -> tuple[Mapping[str, object], ...]:
        return tuple(item for item in self._items(name) if isinstance(item, Mapping))

    def mapping(self, name: str) -> Mapping[str, object]:
        value = self.value(name)
        return value if isinstance(value, Mapping) else {}


def typed(spec: TaskSpec, given: Mapping[str, object]) -> Options:
    """UsageError for an option that the task does not have, misses, or cannot take."""
    for name in given:
        if spec.option(name) is None:
            raise unknown_option(spec, name)
    values: dict[str, object] = {}
    for option in spec.options:
        value = given.get(option.name)
        # None is not given: YAML's `size:` with nothing after it, or default(omit).
        if value == "" and option.default == "auto" and not option.choices:
            value = None  # a template makes it of a variable that is not set
        if value is None:
            if option.required:
                raise _bad_option(spec, f"it needs {option.name}", option.description)
            value = option.default
        values[option.name] = None if value is None else _checked(spec, option, value)
    return Options(spec.qualified, values)


def unknown_option(spec: TaskSpec, name: str) -> UsageError:
    names = [option.name for option in spec.options]
    hint = suggestion(name, names, "leave it out")
    return UsageError.named(
        "unknown-option",
        "{task} has no option '{problem}'",
        "it has {known}",
        "{hint}",
        {"problem": name, "hint": hint, "known": tuple(names), "task": spec.qualified},
    )


def check_option(spec: TaskSpec, name: str, value: object) -> None:
    """UsageError if the task cannot take `value`: not a size, not one of the choices."""
    option = spec.option(name)
    if option is None:
        raise unknown_option(spec, name)
    if value is None:
        return
    found = _checked(spec, option, value)
    # Sizes are texts in the specs, as Ansible has no type for them.
    if name in _SIZES:
        parse_goal_size(str(found))


def _checked(spec: TaskSpec, option: OptionSpec, value: object) -> object:
    found = _converted(spec, option, option.type, _choice_again(option, value))
    if option.choices and found not in option.choices:
        hint = suggestion(str(found), option.choices, f"choose one of {', '.join(option.choices)}")
        raise _bad_option(spec, f"{option.name} cannot be '{found}'", hint)
    return found


def _choice_again(option: OptionSpec, value: object) -> object:
    """The choice that a bool means: YAML reads `off` as false (Ansible does the same)."""
    if not isinstance(value, bool):
        return value
    # If two choices mean it (off and no), it stays a bool, and is refused.
    meant = [choice for choice in option.choices if truth_of(choice) is value]
    return meant[0] if len(meant) == 1 else value


def _converted(spec: TaskSpec, option: OptionSpec, kind: OptionType, value: object) -> object:
    match kind, value:
        case "str", str() | int() | float():
            # YAML may have read a text as a number or a bool: JSON writes `true`, Python True.
            return value if isinstance(value, str) else json.dumps(value)
        case "bool", _ if truth_of(value) is not None:
            return truth_of(value)
        # To Python True is an int.
        case "int", int() if not isinstance(value, bool):
            return value
        case "int", str() if value.strip().isdecimal():
            return int(value)
        # An empty path would be the current folder.
        case "path", str() | Path() if str(value):
            return path_of(value)
        case "list", _:
            return [
                _converted(spec, option, option.elements or "str", item) for item in _listed(value)
            ]
        case "dict", Mapping():
            return {str(key): item for key, item in value.items()}
    problem = f"{option.name} must be {_WORDS[kind]}, and is {json.dumps(value, default=str)}"
    raise _bad_option(spec, problem, option.description)


def path_of(value: object) -> Path:
    """With `~` and `$HOME` filled in, as Ansible does for a path."""
    return given_path(os.path.expandvars(str(value)))


def truth_of(value: object) -> bool | None:
    """True and false in all their spellings; None for what is neither."""
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    return True if word in _TRUE else False if word in _FALSE else None


def _listed(value: object) -> Sequence[object]:
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    # Ansible takes a single value for a list of one.
    return value if isinstance(value, Sequence) else [value]


_WORDS: Mapping[OptionType, str] = {
    "str": "a text",
    "bool": "true or false",
    "int": "a number",
    "list": "a list",
    "dict": "a mapping",
    "path": "a path",
}
