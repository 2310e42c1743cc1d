"""The values of a playbook's keywords, each checked: texts, names, conditions, variables, tags."""

from __future__ import annotations

import keyword
from collections.abc import Iterator

from growdisk.host.yaml_reader import Located, YamlPosition, bad_file
from growdisk.playbook.expressions import is_template, sandbox
from growdisk.playbook.options import truth_of

# jinja2's constants, in both spellings; and omit, which is a value of every task.
_NOT_A_NAME = frozenset({"true", "false", "none", "True", "False", "None", "omit"})


def text_of(node: Located | None, word: str) -> str:
    """A text; "" if it is not said."""
    if node is None or node.value is None:
        return ""
    # `name: 5` is a text to people; YAML has made a number of it.
    if not isinstance(node.value, str | int | float):
        raise node.bad(f"{word} is a text")
    check_templates(str(node.value), node.place)
    return str(node.value)


def variable_name(node: Located | None, word: str) -> str:
    """A variable's name; "" if it is not said."""
    if node is None:
        return ""
    text = str(node.value)
    if not is_name(text):
        raise node.bad(f"{word} is the name of a variable", reason=f"'{text}' cannot be one")
    return text


def is_name(text: str) -> bool:
    return (
        text.isidentifier()
        and text.isascii()
        and not keyword.iskeyword(text)
        and text not in _NOT_A_NAME
    )


def flag_of(node: Located | None, word: str) -> bool:
    if node is None:
        return False
    if (found := truth_of(node.value)) is None:
        raise node.bad(f"{word} is true or false")
    return found


def truth_or_template(node: Located | None, word: str, *, default: object = None) -> object:
    """A bool, or a text that is worked out to one later."""
    if node is None:
        return default
    if isinstance(node.value, str) and is_template(node.value):
        check_templates(node.value, node.place)
        return node.value
    if truth_of(node.value) is None:
        raise node.bad(f"{word} is true or false")
    return truth_of(node.value)


def conditions_of(node: Located | None, word: str) -> tuple[str, ...] | None:
    """Expressions that must all hold; None if there are none."""
    if node is None:
        return None
    return tuple(_condition(item, word) for item in (node.items() if node.is_list else (node,)))


def _condition(node: Located, word: str) -> str:
    if isinstance(node.value, bool):
        # YAML has read `when: true` as a bool; jinja2 writes it in small letters.
        return str(node.value).lower()
    text = str(node.value) if isinstance(node.value, str | int) else ""
    if not text.strip():
        raise node.bad(f"{word} is an expression", hint=f"such as {word}: size is defined")
    if is_template(text):
        raise node.bad(
            f"{word} is an expression already",
            reason="braces make a text of it",
            hint="leave {{ and }} out",
        )
    check_expression(text, node.place)
    return text


def vars_of(node: Located | None) -> dict[str, object]:
    if node is None or node.value is None:
        return {}
    if not node.is_mapping:
        raise node.bad("vars is a mapping", hint="write NAME: VALUE below it")
    for key, _, place in node.entries():
        if not is_name(key):
            raise bad_file(
                f"'{key}' cannot be the name of a variable",
                place=place,
                hint="use letters, digits and _",
            )
    check_all(node)
    return {key: value.plain() for key, value, _ in node.entries()}


def tags_of(node: Located | None) -> frozenset[str]:
    if node is None or node.value is None:
        return frozenset()
    words: list[str] = []
    # A list, or one text with commas, as Ansible takes both.
    for item in node.items() if node.is_list else (node,):
        if not isinstance(item.value, str | int):
            raise item.bad("tags are words")
        words += [word.strip() for word in str(item.value).split(",")]
    return frozenset(word for word in words if word)


def items_of(node: Located | None, word: str) -> tuple[Located, ...]:
    if node is None or node.value is None:
        return ()
    if not node.is_list:
        raise node.bad(
            f"{word} is a list", hint=f"begin each of its items with a dash, below {word}:"
        )
    return node.items()


def refuse_become(node: Located | None) -> None:
    if node is not None and truth_of(node.value) is not False:
        raise node.bad("growdisk run does not become another user", hint="run it with sudo")


def check_all(node: Located) -> None:
    """Every expression in it can be read."""
    for text, place in _texts(node):
        check_templates(text, place)


def check_templates(text: str, place: YamlPosition) -> None:
    if is_template(text):
        _checked(text, place, expression=False)


def check_expression(text: str, place: YamlPosition) -> None:
    _checked(text, place, expression=True)


def _checked(text: str, place: YamlPosition, *, expression: bool) -> None:
    try:
        # It compiles the text, and so finds unknown filters too.
        sandbox().names_in(text, expression=expression)
    except Exception as error:  # jinja2's own, and what its parser trips over
        reason = " ".join(str(error).split())
        raise bad_file(f"cannot read the expression {text}", place=place, reason=reason) from error


def _texts(node: Located) -> Iterator[tuple[str, YamlPosition]]:
    if isinstance(node.value, str):
        yield node.value, node.place
    for item in node.items():
        yield from _texts(item)
    for _, value, _ in node.entries():
        yield from _texts(value)
