"""Inventories in Ansible's YAML and INI: hosts, groups, variables, group_vars/, host_vars/.

A variable of a host beats one of its group; an inner group beats the outer one; `all` is the
outermost. Files of groups beat what inventories say of any group.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from growdisk.fast_dataclass import dataclass
from growdisk.host.yaml_reader import Located, YamlPosition, bad_file, read_yaml
from growdisk.playbook.keywords import unknown_word
from growdisk.playbook.model import Vars
from growdisk.playbook.vars_files import VarsFolders

_TAKEN = (
    "-i takes an inventory, in Ansible's YAML or INI, or host names with a comma; an image is "
    "named under hosts in the playbook"
)
_YAML = frozenset({".yml", ".yaml", ".json"})
LOCAL = "localhost"
_PRIORITY = "ansible_group_priority"


@dataclass(frozen=True)
class Inventory:
    """`hosts` have all their variables; `groups` all their hosts, also those of inner groups.

    `local`: the variables of localhost if no inventory names it.
    """

    hosts: Mapping[str, Vars]
    groups: Mapping[str, tuple[str, ...]]
    local: Vars

    def groups_of(self, host: str) -> list[str]:
        return sorted(name for name, own in self.groups.items() if host in own and name != "all")


def read_inventories(sources: Sequence[str], playbook_folder: Path) -> Inventory:
    """All of `sources` as one: files, or `name,name` lists. bad-file."""
    tree = Tree()
    folders = []
    for source in sources:
        path = Path(source)
        # As Ansible's `-i web01,web02`, or `-i web01,`.
        if "," in source and not path.exists():
            for name in filter(None, (word.strip() for word in source.split(","))):
                tree.add_host("all", name)
            continue
        if not path.is_file():
            reason = "it is a folder" if path.is_dir() else "there is no such file"
            if path.exists() and not path.is_dir():
                reason = "it is a pipe or a device"
            raise bad_file("cannot read this inventory", place=source, reason=reason, hint=_TAKEN)
        (read_yaml_inventory if path.suffix in _YAML else read_ini)(path, tree)
        folders.append(path.parent)
    # Later folders win: those of later inventories, and last the playbook's own.
    files = VarsFolders([*folders, playbook_folder])
    return Inventory(
        {host: _variables(tree, files, host) for host in tree.hosts_in("all")},
        {name: tuple(tree.hosts_in(name)) for name in tree.group_names()},
        _variables(tree, files, LOCAL),
    )


def _variables(tree: Tree, files: VarsFolders, host: str) -> dict[str, object]:
    """A host's variables, in Ansible's order of precedence (vars_files.py)."""
    groups = tree.groups_outside_in(host)
    merged: dict[str, object] = {}
    for group in ("all", *groups):
        merged |= tree.group_vars(group)
    merged |= files.of("group_vars", ["all"])
    merged |= files.of("group_vars", groups)
    return merged | tree.host_vars(host) | files.of("host_vars", [host])


# Ansible's INI: [group], [group:vars], [group:children], and a line a host with its variables.
#
# [guests]
# web[01:03] image="/var/lib/images/{{ inventory_hostname }}.qcow2"

_SECTION = r"\[(?P<group>[^\[\]:\s]+)(?::(?P<kind>\w+))?\]\s*(?:[#;].*)?"


def read_ini(path: Path, tree: Tree) -> None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise bad_file("cannot read this inventory", str(path), str(reason), _TAKEN) from error
    # Lines before the first [section].
    group, kind = "ungrouped", "hosts"
    tree.add_group("ungrouped")
    for number, line in enumerate(lines, start=1):
        text, place = (
            line.strip(),
            YamlPosition(str(path), number, len(line) - len(line.lstrip()) + 1),
        )
        if not text or text[0] in "#;":
            continue
        if text.startswith("["):
            group, kind = _section(text, place)
            tree.add_group(group)
        else:
            _KINDS[kind](tree, group, text, place)


def _section(text: str, place: YamlPosition) -> tuple[str, str]:
    match = re.fullmatch(_SECTION, text)
    kind = (match["kind"] or "hosts") if match else ""
    if match is None or kind not in _KINDS:
        hint = "write [group], [group:vars] or [group:children]"
        raise bad_file(f"{text} is not a section", place=place, hint=hint)
    return match["group"], kind


def _host(tree: Tree, group: str, text: str, place: YamlPosition) -> None:
    try:
        # Quotes as in a shell: image="/my images/web.qcow2"; # begins a comment.
        name, *words = shlex.split(text, comments=True)
    except ValueError as error:
        raise bad_file("this line cannot be taken apart", place=place, reason=str(error)) from error
    values = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            problem = f"'{word}' is not a variable"
            raise bad_file(problem, place, hint="write NAME=VALUE after the host")
        values[key] = _value(value)
    for host in spelled_out(name, place):
        tree.add_host(group, host, values)


def _variable(tree: Tree, group: str, text: str, place: YamlPosition) -> None:
    # In :vars all that follows the = is one value, spaces included.
    key, equals, value = text.partition("=")
    if not equals:
        raise bad_file(f"'{text}' is not a variable", place=place, hint="write NAME=VALUE")
    tree.add_vars(group, {key.strip(): _value(value.strip())})


def _child(tree: Tree, group: str, text: str, place: YamlPosition) -> None:
    if text in tree.group_names() and tree.is_inside(text, group):
        raise bad_file(f"group {text} would be inside itself", place=place)
    tree.add_group(text, group)


def _value(text: str) -> object:
    """A value as Ansible takes it: a Python number, list and the like if it is one, else text."""
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value


_KINDS: dict[str, Callable[[Tree, str, str, YamlPosition], None]] = {
    "hosts": _host,
    "vars": _variable,
    "children": _child,
}


# An inventory in YAML: groups with hosts, vars and children, nested as they lie in each other.


def read_yaml_inventory(path: Path, tree: Tree) -> None:
    document = read_yaml(path)
    if document is None:
        raise bad_file("it is empty", place=str(path), hint="an inventory names hosts")
    if not document.is_mapping:
        raise document.bad("an inventory is a mapping of groups", hint="begin with all:")
    for name, node, place in document.entries():
        _group(tree, name, node, place, None)


def _group(tree: Tree, name: str, node: Located, place: YamlPosition, parent: str | None) -> None:
    # Checked at each new edge: is_inside, hosts_in and _depth call themselves.
    if parent is not None and name in tree.group_names() and tree.is_inside(name, parent):
        raise bad_file(f"group {name} would be inside itself", place=place)
    tree.add_group(name, parent)
    # `web:` with nothing below it: a group that is only named.
    if node.value is None:
        return
    if not node.is_mapping:
        raise node.bad(f"group {name} is a mapping", hint="it has hosts, vars and children")
    for word, value, where in node.entries():
        if word not in _KINDS:
            raise unknown_word(word, where, "group", _KINDS)
        if value.value is None:
            continue
        if not value.is_mapping:
            hint = "a colon after each name, and no dash" if value.is_list else ""
            raise value.bad(f"{word} is a mapping", hint=hint or "write NAME: below it")
        _member(tree, name, word, value)


def _member(tree: Tree, group: str, word: str, value: Located) -> None:
    for name, node, place in value.entries():
        if word == "vars":
            tree.add_vars(group, {name: node.plain()})
        elif word == "children":
            _group(tree, name, node, place, group)
        else:
            if node.value is not None and not node.is_mapping:
                raise node.bad(f"host {name} has variables", hint="write NAME: VALUE below it")
            values = node.plain_entries()
            for host in spelled_out(name, place):
                tree.add_host(group, host, values)


# Groups within groups, as inventories say them piece by piece.


class Tree:
    """`all` is there from the beginning; a group that is in no other is in it."""

    def __init__(self) -> None:
        self._hosts: dict[str, dict[str, object]] = {}
        self._members: dict[str, list[str]] = {"all": []}
        self._children: dict[str, list[str]] = {"all": []}
        self._vars: dict[str, dict[str, object]] = {"all": {}}
        self._priorities: dict[str, int] = {}

    def add_group(self, name: str, parent: str | None = None) -> None:
        """`parent` is a group that is there already."""
        for table in (self._members, self._children):
            table.setdefault(name, [])
        self._vars.setdefault(name, {})
        if parent is not None and name not in self._children[parent]:
            self._children[parent].append(name)

    def add_host(self, group: str, name: str, values: Mapping[str, object] | None = None) -> None:
        self.add_group(group)
        self._hosts.setdefault(name, {}).update(values or {})
        if name not in self._members[group]:
            self._members[group].append(name)

    def add_vars(self, group: str, values: Mapping[str, object]) -> None:
        """An ansible_group_priority is not a variable: it says which of equal groups wins."""
        self.add_group(group)
        self._vars[group].update({k: value for k, value in values.items() if k != _PRIORITY})
        if _PRIORITY in values:
            try:
                self._priorities[group] = int(str(values[_PRIORITY]))
            except ValueError as error:
                raise bad_file(f"{_PRIORITY} is a number", place=f"group {group}") from error

    def group_names(self) -> list[str]:
        return list(self._members)

    def is_inside(self, name: str, inner: str) -> bool:
        """Whether group `inner` is `name`, or somewhere in it."""
        return name == inner or any(self.is_inside(child, inner) for child in self._children[name])

    def hosts_in(self, group: str) -> Iterator[str]:
        """In the order in which they were named; each once."""
        if group == "all":
            yield from self._hosts
            return
        # Its own hosts first, then those of groups in it.
        found = dict.fromkeys(self._members[group])
        for child in self._children[group]:
            found.update(dict.fromkeys(self.hosts_in(child)))
        yield from found

    def host_vars(self, host: str) -> dict[str, object]:
        return self._hosts.get(host, {})

    def group_vars(self, group: str) -> dict[str, object]:
        return self._vars[group]

    def groups_outside_in(self, host: str) -> list[str]:
        """Those that the host is in besides all, outer ones first.

        Of equals by priority, then by name.
        """
        inside = [name for name in self._members if name != "all" and host in self.hosts_in(name)]
        # The last one wins: the deepest group, then the higher priority, then the later name.
        return sorted(inside, key=lambda n: (self._depth(n), self._priorities.get(n, 1), n))

    def _depth(self, name: str) -> int:
        parents = [
            parent
            for parent, children in self._children.items()
            if name in children and parent != "all"
        ]
        return 1 + max((self._depth(parent) for parent in parents), default=0)


# web[01:10] and db[a:c] as the hosts that they stand for.

_RANGE = (
    r"(?P<before>.*?)\[(?P<first>\d+|[A-Za-z]):(?P<last>\d+|[A-Za-z])(?::(?P<step>\d+))?\]"
    r"(?P<after>.*)"
)
_MOST = 10_000


def spelled_out(name: str, place: YamlPosition) -> Iterator[str]:
    match = re.fullmatch(_RANGE, name)
    if match is None:
        yield name
        return
    for middle in _middles(match["first"], match["last"], int(match["step"] or 1), place):
        # Again, as there may be a second range after it: web[1:2]-[a:b].
        yield from spelled_out(f"{match['before']}{middle}{match['after']}", place)


def _middles(first: str, last: str, step: int, place: YamlPosition) -> Iterator[str]:
    numbers = first.isdigit() and last.isdigit()
    low, high = (int(first), int(last)) if numbers else (ord(first), ord(last))
    if first.isdigit() != last.isdigit() or low > high or step < 1 or high - low > _MOST:
        problem = f"[{first}:{last}] is not a range of hosts"
        raise bad_file(problem, place, hint="write [01:10], or [a:f]")
    for value in range(low, high + 1, step):
        # As wide as the first: 01, 02 … 10.
        yield str(value).zfill(len(first)) if numbers else chr(value)
