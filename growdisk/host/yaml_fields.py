"""The values of a YAML file that is a mapping, each checked: texts, switches, sizes, lists."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from growdisk.errors import BadSize
from growdisk.given_file import given_path
from growdisk.host.yaml_reader import Located, bad_file
from growdisk.suggestions import suggestion
from growdisk.units import SizeSpec, parse_goal_size

_MODE = r"[0-7]{3,4}"


class Fields:
    """The entries of one mapping, by word. `folder`: what relative names of files count from."""

    def __init__(self, node: Located, known: Collection[str], what: str, folder: Path) -> None:
        """bad-file, with the nearest known word, for a word that is not known."""
        self._node, self._what, self._folder = node, what, folder
        if not node.is_mapping:
            raise node.bad(f"{what} is a mapping", hint=f"its words are {', '.join(known)}")
        for word, _, place in node.entries():
            if word not in known:
                hint = suggestion(word, known, f"{what} knows {', '.join(known)}")
                raise bad_file(f"{what} has no '{word}'", place=place, hint=hint)
        # A word without a value counts as left out.
        self._found = {word: value for word, value, _ in node.entries() if value.value is not None}

    def __contains__(self, word: str) -> bool:
        return word in self._found

    def node(self, word: str) -> Located | None:
        return self._found.get(word)

    def required(self, word: str) -> str:
        if word not in self._found:
            raise bad_file(
                f"{self._what} needs {word}", place=self._node.place, hint=f"add {word}: …"
            )
        return self.text(word)

    def refuse_unless_one_of(self, *words: str) -> None:
        if sum(word in self._found for word in words) != 1:
            raise bad_file(f"{self._what} needs one of {', '.join(words)}", place=self._node.place)

    def text(self, word: str, default: str = "") -> str:
        node = self._found.get(word)
        if node is None:
            return default
        # bool first: in Python True is an int.
        if isinstance(node.value, bool) or not isinstance(node.value, str | int | float):
            raise node.bad(f"{word} is a text", hint=f'write {word}: "…"')
        return str(node.value)

    def choice(self, word: str, choices: Collection[str]) -> str | None:
        node = self._found.get(word)
        if node is None:
            return None
        value = str(node.plain())
        if value not in choices:
            hint = suggestion(value, choices, f"choose one of {', '.join(choices)}")
            raise node.bad(f"{word} cannot be '{value}'", hint=hint)
        return value

    def flag(self, word: str) -> bool:
        node = self._found.get(word)
        if node is None:
            return False
        if not isinstance(node.value, bool):
            raise node.bad(f"{word} is true or false", hint=f"write {word}: true")
        return node.value

    def number(self, word: str) -> int | None:
        node = self._found.get(word)
        if node is None:
            return None
        if isinstance(node.value, bool) or not isinstance(node.value, int) or node.value < 0:
            raise node.bad(f"{word} is a number", hint=f"write {word}: 1")
        return node.value

    def size(self, word: str) -> SizeSpec | None:
        node = self._found.get(word)
        if node is None:
            return None
        try:
            return parse_goal_size(str(node.value))
        except BadSize as error:
            raise node.bad(error.what, reason=error.why, hint=error.what_to_do) from error

    def path(self, word: str) -> Path | None:
        return self._folder / given_path(self.text(word)) if word in self._found else None

    def mode(self, word: str, default: int) -> int:
        """A file's mode, in quotes: YAML reads 0644 as octal and 644 as another number.

        The two could not be told apart here.
        """
        node = self._found.get(word)
        if node is None:
            return default
        value = node.value
        if not isinstance(value, str) or not re.fullmatch(_MODE, value):
            raise node.bad(f"{word} is a mode in quotes", hint=f'write {word}: "0644"')
        return int(value, 8)

    def items(self, word: str) -> tuple[Located, ...]:
        node = self._found.get(word)
        if node is None:
            return ()
        if not node.is_list:
            raise node.bad(f"{word} is a list", hint="begin each item with -")
        return node.items()

    def texts(self, word: str) -> Mapping[str, str]:
        """A mapping of texts, as variables are."""
        node = self._found.get(word)
        if node is None:
            return {}
        if not node.is_mapping:
            raise node.bad(f"{word} is a mapping", hint=f"write {word}: {{name: value}}")
        return {key: plain_text(value) for key, value, _ in node.entries()}


def plain_text(node: Located) -> str:
    if isinstance(node.value, bool):
        return str(node.value).lower()
    if not isinstance(node.value, str | int | float):
        raise node.bad("this is a text or a number")
    return str(node.value)
