"""An inventory in Ansible's INI: [group], [group:vars], [group:children], and a line a host with its variables.

[guests]
web[01:03] image="/var/lib/images/{{ inventory_hostname }}.qcow2"
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from growdisk.host.yaml_reader import BadFile, Place
from growdisk.playbook.host_ranges import spelled_out
from growdisk.playbook.inventory_tree import Tree

_SECTION = re.compile(r"\[(?P<group>[^\[\]:\s]+)(?::(?P<kind>\w+))?\]\s*(?:[#;].*)?")


def read_ini(path: Path, tree: Tree) -> None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile("cannot be read", place=str(path), reason=str(error), hint="name a file with -i") from error
    group, kind = "ungrouped", "hosts"
    tree.add_group("ungrouped")
    for number, line in enumerate(lines, start=1):
        text, place = line.strip(), Place(str(path), number, len(line) - len(line.lstrip()) + 1)
        if not text or text[0] in "#;":
            continue
        if text.startswith("["):
            group, kind = _section(text, place)
            tree.add_group(group)
        else:
            _KINDS[kind](tree, group, text, place)


def _section(text: str, place: Place) -> tuple[str, str]:
    match = _SECTION.fullmatch(text)
    kind = (match["kind"] or "hosts") if match else ""
    if match is None or kind not in _KINDS:
        hint = "write [group], [group:vars] or [group:children]"
        raise BadFile(f"{text} is no section", place=place, hint=hint)
    return match["group"], kind


def _host(tree: Tree, group: str, text: str, place: Place) -> None:
    try:
        name, *words = shlex.split(text, comments=True)
    except ValueError as error:
        raise BadFile("this line cannot be taken apart", place=place, reason=str(error)) from error
    values = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise BadFile(f"'{word}' is no variable", place=place, hint="write NAME=VALUE behind the host")
        values[key] = _value(value)
    for host in spelled_out(name, place):
        tree.add_host(group, host, values)


def _variable(tree: Tree, group: str, text: str, place: Place) -> None:
    key, equals, value = text.partition("=")
    if not equals:
        raise BadFile(f"'{text}' is no variable", place=place, hint="write NAME=VALUE")
    tree.add_vars(group, {key.strip(): _value(value.strip())})


def _child(tree: Tree, group: str, text: str, place: Place) -> None:
    if text in tree.group_names() and tree.is_inside(text, group):
        raise BadFile(f"group {text} would be inside itself", place=place)
    tree.add_group(text, group)


def _value(text: str) -> object:
    """As Ansible takes it: a number, a list and the like if it reads like one of Python's, else the text."""
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value


_KINDS: dict[str, Callable[[Tree, str, str, Place], None]] = {
    "hosts": _host, "vars": _variable, "children": _child,
}  # fmt: skip
