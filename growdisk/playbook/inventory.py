"""Inventories: hosts, their groups and their variables, in Ansible's YAML and INI, with group_vars/ and host_vars/.

A variable of a host beats one of its group; of groups the inner one beats the outer one; `all` is around everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from growdisk.fast_dataclass import dataclass
from growdisk.host.yaml_reader import BadFile, read_yaml
from growdisk.playbook.inventory_ini import read_ini
from growdisk.playbook.inventory_tree import Tree
from growdisk.playbook.inventory_yaml import read_yaml_inventory
from growdisk.playbook.model import Vars

_YAML = frozenset({".yml", ".yaml", ".json"})
_SUFFIXES = ("", ".yml", ".yaml", ".json")


@dataclass(frozen=True)
class Inventory:
    """`hosts` have all their variables; `groups` have all their hosts, those of inner groups included."""

    hosts: Mapping[str, Vars]
    groups: Mapping[str, tuple[str, ...]]

    def groups_of(self, host: str) -> list[str]:
        return sorted(name for name, hosts in self.groups.items() if host in hosts and name != "all")


def read_inventories(sources: Sequence[str], playbook_folder: Path) -> Inventory:
    """All of `sources` as one: files, or `name,name` lists. BadFile."""
    tree = Tree()
    folders = [playbook_folder]
    for source in sources:
        path = Path(source)
        if "," in source and not path.exists():
            for name in filter(None, (word.strip() for word in source.split(","))):
                tree.add_host("all", name)
            continue
        if not path.is_file():
            reason = "it is a folder" if path.is_dir() else "there is no such file"
            raise BadFile("cannot read this inventory", place=source, reason=reason, hint="name a file with -i")
        (read_yaml_inventory if path.suffix in _YAML else read_ini)(path, tree)
        folders.insert(0, path.parent)
    found = _with_files(tree, folders)
    return Inventory(found, {name: tuple(tree.hosts_in(name)) for name in tree.group_names()})


def _with_files(tree: Tree, folders: Sequence[Path]) -> dict[str, Vars]:
    """Each host's variables, outermost group first."""
    group_files = {name: _files(folders, "group_vars", name) for name in tree.group_names()}
    hosts: dict[str, Vars] = {}
    for host in tree.hosts_in("all"):
        merged: dict[str, object] = {}
        for group in tree.groups_outside_in(host):
            merged |= tree.group_vars(group) | group_files[group]
        hosts[host] = merged | tree.host_vars(host) | _files(folders, "host_vars", host)
    return hosts


def _files(folders: Sequence[Path], kind: str, name: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in _candidates(folders, kind, name):
        document = read_yaml(path)
        if document is None:
            continue
        if not document.is_mapping:
            raise BadFile("variables are a mapping", place=document.place, hint="write NAME: VALUE")
        found |= {key: value.plain() for key, value, _ in document.entries()}
    return found


def _candidates(folders: Sequence[Path], kind: str, name: str) -> Iterator[Path]:
    for folder in dict.fromkeys(folders):
        for suffix in _SUFFIXES:
            path = folder / kind / f"{name}{suffix}"
            if path.is_file():
                yield path
