"""Groups within groups, as inventories say them piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class Tree:
    """`all` is there from the beginning; a group that is in no other is in it."""

    def __init__(self) -> None:
        self._hosts: dict[str, dict[str, object]] = {}
        self._members: dict[str, list[str]] = {"all": []}
        self._children: dict[str, list[str]] = {"all": []}
        self._vars: dict[str, dict[str, object]] = {"all": {}}

    def add_group(self, name: str, parent: str | None = None) -> None:
        for table in (self._members, self._children):
            table.setdefault(name, [])
        self._vars.setdefault(name, {})
        if parent is not None and name not in self._children.setdefault(parent, []):
            self.add_group(parent)
            self._children[parent].append(name)

    def add_host(self, group: str, name: str, values: Mapping[str, object] | None = None) -> None:
        self.add_group(group)
        self._hosts.setdefault(name, {}).update(values or {})
        if name not in self._members[group]:
            self._members[group].append(name)

    def add_vars(self, group: str, values: Mapping[str, object]) -> None:
        self.add_group(group)
        self._vars[group].update(values)

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
        found = dict.fromkeys(self._members[group])
        for child in self._children[group]:
            found.update(dict.fromkeys(self.hosts_in(child)))
        yield from found

    def host_vars(self, host: str) -> dict[str, object]:
        return self._hosts[host]

    def group_vars(self, group: str) -> dict[str, object]:
        return self._vars[group]

    def groups_outside_in(self, host: str) -> list[str]:
        """Those that the host is in, outer ones first; of equals by name."""
        inside = [name for name in self._members if name != "all" and host in self.hosts_in(name)]
        return ["all", *sorted(inside, key=lambda name: (self._depth(name), name))]

    def _depth(self, name: str) -> int:
        around = [parent for parent, children in self._children.items() if name in children and parent != "all"]
        return 1 + max((self._depth(parent) for parent in around), default=0)
