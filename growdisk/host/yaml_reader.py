"""YAML in and out: the only user of yaml.

Every value knows where it stands, so that an error can say file:line:column. YAML 1.1 as Ansible
reads it (PyYAML's safe loader), but a date stays the text that it was, a key may not stand twice in
a mapping, and anchors may not be used to make a file of a few lines into gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TypeGuard

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from growdisk.errors import UsageError, error_id
from growdisk.fast_dataclass import dataclass
from growdisk.given_file import read_given

_MOST_VALUES = 100_000
_LARGEST_FILE = 8 << 20
# what no file, machine or argument of a command can have
_NO_NAME = "[\0\ud800-\udfff]"
Scalar = str | int | float | bool | bytes | None


@dataclass(frozen=True)
class YamlPosition:
    """Where a value begins; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Located:
    """A value and where it stands; a mapping has each value with the place of its key."""

    value: Scalar | Mapping[str, tuple[Located, YamlPosition]] | tuple[Located, ...]
    place: YamlPosition

    def entries(self) -> Iterator[tuple[str, Located, YamlPosition]]:
        """Key, value and the key's place of a mapping; nothing of anything else."""
        if isinstance(self.value, Mapping):
            yield from ((key, *found) for key, found in self.value.items())

    def items(self) -> tuple[Located, ...]:
        """The items of a list; nothing of anything else."""
        return self.value if isinstance(self.value, tuple) else ()

    def one_or_more(self) -> tuple[Located, ...]:
        """The items of a list; anything else is the only item."""
        return self.value if isinstance(self.value, tuple) else (self,)

    def bad(self, problem: str, **words: str) -> UsageError:
        """What is wrong with it, with its place."""
        return bad_file(problem, place=self.place, **words)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.value, Mapping)

    @property
    def is_list(self) -> bool:
        return isinstance(self.value, tuple)

    def plain(self) -> object:
        """The same without places."""
        if isinstance(self.value, Mapping):
            return self.plain_entries()
        if isinstance(self.value, tuple):
            return [item.plain() for item in self.value]
        return self.value

    def plain_entries(self) -> dict[str, object]:
        """The same of a mapping; nothing of anything else."""
        return {key: value.plain() for key, value, _ in self.entries()}


def bad_file(
    problem: str,
    place: YamlPosition | str = "",
    reason: str = "",
    hint: str = "mend that line; nothing has been touched",
) -> UsageError:
    """`problem` says what is wrong; `place` is file:line:column."""
    return UsageError.because(
        "bad-file", "{place}: {problem}", reason, hint, problem=problem, place=place
    )


def read_yaml(path: Path) -> Located | None:
    """The only document in the file; None if there is none. bad-file."""
    try:
        text = read_given(path, "check the path", _LARGEST_FILE).decode("utf-8")
    except UsageError as error:
        if error_id(error) == "file-too-large":
            raise bad_file(
                "the file is too large", place=str(path), reason="nobody writes that much by hand"
            ) from error
        raise bad_file(
            "cannot be read", place=str(path), reason=error.why, hint=error.what_to_do
        ) from error
    except UnicodeDecodeError as error:
        raise bad_file(
            "it is not text", place=str(path), reason="it is not UTF-8", hint="name another file"
        ) from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Located | None:
    """The same of a text; `name` stands for the file in messages."""
    try:
        loader = yaml.SafeLoader(text)
    except yaml.YAMLError as error:  # characters that YAML does not allow
        raise bad_file("it is not YAML", place=name, reason=_one_line(error)) from error
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        reader = _Reader(loader, name)
        reader.refuse_twice(node)
        return reader.located(node)
    except yaml.MarkedYAMLError as error:
        # Most errors know their place; the few others follow.
        mark = error.problem_mark or error.context_mark
        place: YamlPosition | str = (
            YamlPosition(name, mark.line + 1, mark.column + 1) if mark else name
        )
        raise bad_file(
            error.problem or "it is not YAML", place=place, reason=error.context or ""
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise bad_file("it is not YAML", place=name, reason=_one_line(error)) from error
    except RecursionError as error:
        raise bad_file("it is nested too deeply", place=name) from error
    finally:
        loader.dispose()


def as_yaml(value: object) -> str:
    """A value as people write it: a playbook with its comments left out. Ends with a line break."""
    text: str = yaml.dump(
        value,
        Dumper=_Indented,
        sort_keys=False,
        default_flow_style=False,
        width=110,
        allow_unicode=True,
        explicit_start=True,
    )
    return text


class _Indented(yaml.SafeDumper):
    """Lists lie one step further in than their key, as linters want them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: object) -> bool:
        """What stands in two places is written twice, without anchors."""
        return True


# Numbers that know how they were written (PartitionNumber) are written as numbers.
_Indented.add_multi_representer(int, yaml.SafeDumper.represent_int)


class _Reader:
    """Makes values of one file's nodes."""

    def __init__(self, loader: yaml.SafeLoader, name: str) -> None:
        self._loader, self._name = loader, name
        self._open: set[int] = set()
        self._count = 0

    def located(self, node: Node) -> Located:
        place = self._place(node)
        # Counted once for each use of an anchor: that is what makes a few lines into gigabytes.
        self._count += 1
        if self._count > _MOST_VALUES:
            raise bad_file(
                "there are too many values", place=place, reason="anchors are used too often"
            )
        # An alias leads back to a node that is still being read.
        if id(node) in self._open:
            raise bad_file("this contains itself", place=place)
        self._open.add(id(node))
        try:
            return Located(self._value(node), place)
        finally:
            self._open.remove(id(node))

    def _value(
        self, node: Node
    ) -> Scalar | Mapping[str, tuple[Located, YamlPosition]] | tuple[Located, ...]:
        if isinstance(node, SequenceNode):
            return tuple(self.located(item) for item in node.value)
        if isinstance(node, MappingNode):
            return self._entries(node)
        try:
            value = self._loader.construct_object(node)
        except (LookupError, AttributeError, ValueError) as error:  # !!int "", !!bool perhaps
            raise bad_file(f"this is not a value of {node.tag}", place=self._place(node)) from error
        # 2024-01-01 without quotes, which PyYAML makes a date of: in a playbook it is a text.
        if isinstance(value, date):
            return str(node.value)
        if value is not None and not isinstance(value, str | int | float | bytes):
            raise bad_file(f"{node.tag} is not known here", place=self._place(node))
        if isinstance(value, str) and re.search(_NO_NAME, value):
            raise bad_file(
                "this has a character that is none (NUL, or half of one)", place=self._place(node)
            )
        return value

    def _entries(self, node: MappingNode) -> Mapping[str, tuple[Located, YamlPosition]]:
        self._loader.flatten_mapping(node)
        # Merged entries come first, own ones replace them: a dict keeps the last.
        return {
            self._key(key): (self.located(value), self._place(key)) for key, value in node.value
        }

    def refuse_twice(self, root: Node) -> None:
        """bad-file for a key that is twice in a mapping, before merges (<<), which may override."""
        waiting, known = [root], set[int]()
        while waiting:
            node = waiting.pop()
            if id(node) in known:
                continue
            known.add(id(node))
            if isinstance(node, MappingNode):
                self._refuse_twice_in(node)
                waiting += [value for _, value in reversed(node.value)]
            elif isinstance(node, SequenceNode):
                waiting += reversed(node.value)

    def _refuse_twice_in(self, node: MappingNode) -> None:
        seen: set[str] = set()
        for key, _ in node.value:
            text = self._key(key)
            if text in seen and text != "<<":
                raise bad_file(f"'{text}' stands here a second time", place=self._place(key))
            seen.add(text)

    def _key(self, node: Node) -> str:
        if not isinstance(node, ScalarNode):
            raise bad_file(
                "a key must be a word",
                place=self._place(node),
                reason="{{ }} without quotes is a mapping to YAML",
                hint='put an expression into quotes: "{{ name }}"',
            )
        return str(node.value)

    def _place(self, node: Node) -> YamlPosition:
        return YamlPosition(self._name, node.start_mark.line + 1, node.start_mark.column + 1)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def is_mapping(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping)


def is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
