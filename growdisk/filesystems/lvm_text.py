"""LVM's configuration language, which its metadata are written in (lvm2, lib/config).

vg0 {
    extent_size = 8192                # numbers, "strings", [lists], sections, comments
    logical_volumes { root { ... } }
}
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from growdisk.fast_dataclass import dataclass, field

# Blanks and comments match without a group, and are dropped. A number must not be the beginning of
# a name: a volume may be called 2nd.
_TOKEN = r"""(?x)
    \s+|\#[^\n]*|(?P<text>"(?:[^"\\]|\\.)*")|(?P<number>-?\d+(?:\.\d+)?)(?![\w.+-])
    |(?P<name>[\w.+-][\w.+/-]*)|(?P<sign>[{}\[\],=])"""
_ESCAPE = r"\\(.)"
_DEPTH = 16

Value = str | int


class NotLvmText(ValueError):
    """The text breaks the rules of LVM's configuration language."""


@dataclass(frozen=True)
class LvmSection:
    """One level: single values are lists of one. Asking for what is not there raises NotLvmText."""

    values: dict[str, tuple[Value, ...]] = field(default_factory=dict)
    sections: dict[str, LvmSection] = field(default_factory=dict)

    def number(self, name: str, default: int | None = None) -> int:
        found = self.values.get(name, () if default is None else (default,))
        if len(found) != 1 or not isinstance(found[0], int):
            raise NotLvmText(f"{name} is not a number")
        return found[0]

    def text(self, name: str, default: str | None = None) -> str:
        found = self.values.get(name, () if default is None else (default,))
        if len(found) != 1 or not isinstance(found[0], str):
            raise NotLvmText(f"{name} is not text")
        return found[0]

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(word for word in self.values.get(name, ()) if isinstance(word, str))

    def list(self, name: str) -> tuple[Value, ...]:
        return self.values.get(name, ())

    def section(self, name: str) -> LvmSection:
        if name not in self.sections:
            raise NotLvmText(f"there is no section {name}")
        return self.sections[name]

    def below(self, name: str) -> dict[str, LvmSection]:
        """The sections in section `name`; none if that is left out."""
        return self.sections[name].sections if name in self.sections else {}


def parse(text: str) -> LvmSection:
    """The whole text as a section without a name. NotLvmText if it is none."""
    # Reversed: the next token is popped from the end.
    tokens = list(_tokens(text))
    tokens.reverse()
    section = _section(tokens, depth=0)
    if tokens:
        raise NotLvmText("an unexpected }")
    return section


def _tokens(text: str) -> Iterator[str]:
    token, at = re.compile(_TOKEN), 0
    while at < len(text):
        match = token.match(text, at)
        if match is None:
            raise NotLvmText(f"cannot read {text[at : at + 20]!r}")
        if match.lastgroup:
            yield match[0]
        at = match.end()


def _section(tokens: list[str], depth: int) -> LvmSection:
    section = LvmSection()
    if depth > _DEPTH:
        raise NotLvmText("sections are nested too deeply")
    while tokens and tokens[-1] != "}":
        name = tokens.pop()
        match tokens.pop() if tokens else "":
            case "{":
                section.sections[name] = _section(tokens, depth + 1)
                _expect(tokens, "}")
            case "=":
                section.values[name] = tuple(_values(tokens))
            case other:
                raise NotLvmText(f"{other!r} after {name!r}")
    return section


def _values(tokens: list[str]) -> Iterator[Value]:
    if not tokens or tokens[-1] != "[":
        yield _value(tokens)
        return
    tokens.pop()
    while tokens and tokens[-1] != "]":
        yield _value(tokens)
        if tokens and tokens[-1] == ",":
            tokens.pop()
    _expect(tokens, "]")


def _value(tokens: list[str]) -> Value:
    token = tokens.pop() if tokens else ""
    if token.startswith('"'):
        return re.sub(_ESCAPE, r"\1", token[1:-1])
    try:
        return int(token)
    except ValueError as error:
        raise NotLvmText(f"{token!r} is not a value") from error


def _expect(tokens: list[str], sign: str) -> None:
    if not tokens or tokens.pop() != sign:
        raise NotLvmText(f"{sign} is missing")
