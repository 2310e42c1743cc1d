"""An inventory in YAML: groups with hosts, vars and children, nested as they lie in each other."""

from __future__ import annotations

from pathlib import Path

from growdisk.host.yaml_reader import BadFile, Located, Place, read_yaml
from growdisk.playbook.host_ranges import spelled_out
from growdisk.playbook.inventory_tree import Tree
from growdisk.playbook.keywords import unknown_word

_GROUP_WORDS = ("hosts", "vars", "children")


def read_yaml_inventory(path: Path, tree: Tree) -> None:
    document = read_yaml(path)
    if document is None:
        raise BadFile("it is empty", place=str(path), hint="an inventory names hosts")
    if not document.is_mapping:
        raise BadFile("an inventory is a mapping of groups", place=document.place, hint="begin with all:")
    for name, node, place in document.entries():
        _group(tree, name, node, place, None)


def _group(tree: Tree, name: str, node: Located, place: Place, parent: str | None) -> None:
    if parent is not None and name in tree.group_names() and tree.is_inside(name, parent):
        raise BadFile(f"group {name} would be inside itself", place=place)
    tree.add_group(name, parent)
    if node.value is None:
        return
    if not node.is_mapping:
        raise BadFile(f"group {name} is a mapping", place=node.place, hint="it has hosts, vars and children")
    for word, value, where in node.entries():
        if word not in _GROUP_WORDS:
            raise unknown_word(word, where, "group", _GROUP_WORDS)
        if value.value is None:
            continue
        if not value.is_mapping:
            hint = "a colon behind each name, and no dash" if value.is_list else ""
            raise BadFile(f"{word} is a mapping", place=value.place, hint=hint or "write NAME: below it")
        _member(tree, name, word, value)


def _member(tree: Tree, group: str, word: str, value: Located) -> None:
    for name, node, place in value.entries():
        if word == "vars":
            tree.add_vars(group, {name: node.plain()})
        elif word == "children":
            _group(tree, name, node, place, group)
        else:
            if node.value is not None and not node.is_mapping:
                raise BadFile(f"host {name} has variables", place=node.place, hint="write NAME: VALUE below it")
            values = {key: item.plain() for key, item, _ in node.entries()}
            for host in spelled_out(name, place):
                tree.add_host(group, host, values)
